#include "server/rpc/connection_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;

// Then the other sockets have their turn.
constexpr int kAcceptsPerTurn = 64;
constexpr milliseconds kBackOffMin{20};
constexpr milliseconds kBackOffMax{1'000};

int OpenReserve() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

AcceptorOptions WithFileCount(AcceptorOptions options) {
  if (options.file_count_max > 0) return options;
  rlimit limit{};
  constexpr rlim_t kMost = 1 << 30;
  ALAYA_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  options.file_count_max = static_cast<int>(std::min(limit.rlim_cur, kMost) / 4 * 3);
  return options;
}

// Errors of one connection that was gone before it was accepted; accept(2) names the
// network's errors, too.
bool IsOfTheConnection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
      return true;
    default:
      return false;
  }
}

// Who made the connection, as the kernel says.
std::optional<uid_t> PeerOf(int file) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(file, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  return peer.uid;
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(std::vector<ListeningSocket> sockets,
                                       AcceptorOptions options, Handler handler)
    : sockets_(std::move(sockets)),
      options_(WithFileCount(std::move(options))),
      handler_(std::move(handler)),
      stop_file_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      reserve_file_(OpenReserve()) {
  ALAYA_CHECK(stop_file_ >= 0);
  thread_ = std::thread([this] { Run(); });
}

ConnectionAcceptor::~ConnectionAcceptor() {
  Stop();
  close(stop_file_);
  if (reserve_file_ >= 0) close(reserve_file_);
}

void ConnectionAcceptor::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  ALAYA_CHECK(write(stop_file_, &one, sizeof(one)) == sizeof(one));
  thread_.join();
  sockets_.clear();
}

AcceptorStats ConnectionAcceptor::stats() const {
  return {.accepted = accepted_.load(std::memory_order_relaxed),
          .refused_for_files = refused_for_files_.load(std::memory_order_relaxed),
          .refused_users = refused_users_.load(std::memory_order_relaxed),
          .failed_accepts = failed_accepts_.load(std::memory_order_relaxed)};
}

void ConnectionAcceptor::Run() {
  pthread_setname_np(pthread_self(), "acceptor");
  std::vector<pollfd> polled{{stop_file_, POLLIN, 0}};
  for (const ListeningSocket& socket : sockets_) polled.push_back({socket.file(), POLLIN, 0});
  milliseconds back_off{0};
  while (true) {
    // While there is no room only the stop is waited for: the sockets stay readable.
    const bool waits = back_off.count() > 0;
    const int ready = poll(polled.data(), waits ? 1 : polled.size(),
                           waits ? static_cast<int>(back_off.count()) : -1);
    bool has_room = ready >= 0 || errno == EINTR;  // or else ENOMEM
    if (ready > 0 && (polled[0].revents & POLLIN) != 0) return;
    for (size_t i = 0; i < sockets_.size(); ++i) {
      // After a wait nothing was polled: accepting says whether anybody is there.
      if (waits || (ready > 0 && polled[i + 1].revents != 0)) {
        has_room = AcceptFrom(sockets_[i]) && has_room;
      }
    }
    back_off = has_room ? milliseconds(0) : std::clamp(back_off * 2, kBackOffMin, kBackOffMax);
  }
}

bool ConnectionAcceptor::AcceptFrom(const ListeningSocket& socket) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    const int file = accept4(socket.file(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (file >= 0) {
      Admit(file, socket);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
    if (errno == EINTR || IsOfTheConnection(errno)) continue;
    const bool out_of_files = errno == EMFILE || errno == ENFILE;
    failed_accepts_.fetch_add(1, std::memory_order_relaxed);
    if (out_of_files) RefuseOne(socket);
    return false;
  }
  return true;
}

void ConnectionAcceptor::Admit(int file, const ListeningSocket& socket) {
  if (file >= options_.file_count_max) {
    refused_for_files_.fetch_add(1, std::memory_order_relaxed);
    close(file);
    return;
  }
  Connection connection{.file = file, .socket = &socket, .user = {}};
  if (socket.is_unix()) {
    connection.user = PeerOf(file);
    if (!MayConnect(connection.user)) {
      refused_users_.fetch_add(1, std::memory_order_relaxed);
      close(file);
      return;
    }
  } else {
    const int on = 1;
    const auto timeout_ms = static_cast<unsigned>(options_.unacknowledged_max.count());
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(file, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
  }
  accepted_.fetch_add(1, std::memory_order_relaxed);
  handler_(connection);
}

bool ConnectionAcceptor::MayConnect(std::optional<uid_t> user) const {
  const std::vector<uid_t>& users = options_.unix_users;
  if (users.empty()) return true;
  return user && (*user == 0 || *user == geteuid() ||
                  std::find(users.begin(), users.end(), *user) != users.end());
}

void ConnectionAcceptor::RefuseOne(const ListeningSocket& socket) {
  if (reserve_file_ >= 0) close(reserve_file_);
  const int file = accept4(socket.file(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (file >= 0) {
    refused_for_files_.fetch_add(1, std::memory_order_relaxed);
    close(file);
  }
  // Another thread may have been faster; then the next wait begins without a reserve.
  reserve_file_ = OpenReserve();
}

}  // namespace alaya
