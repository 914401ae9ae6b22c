#include "server/rpc/connection_acceptor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{10'000};

class ConnectionAcceptorTest : public testing::Test {
 protected:
  ~ConnectionAcceptorTest() override {
    acceptor_.reset();
    for (const int file : clients_) close(file);
    for (const int file : accepted_) close(file);
  }

  void Listen(const std::string& address, AcceptorOptions options = {}) {
    auto sockets = ListenOn(address, 0600);
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    address_ = sockets->front().address();
    acceptor_ = std::make_unique<ConnectionAcceptor>(
        *std::move(sockets), std::move(options),
        [this](const ConnectionAcceptor::Connection& connection) {
          const std::lock_guard lock(mutex_);
          accepted_.push_back(connection.file);
          peer_ = connection.user;
        });
  }

  // A connected client.
  int Connect() {
    const bool is_unix = address_.starts_with("unix:");
    const int file = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_GE(file, 0);
    clients_.push_back(file);
    if (is_unix) {
      sockaddr_un name{};
      name.sun_family = AF_UNIX;
      std::strncpy(name.sun_path, address_.c_str() + 5, sizeof(name.sun_path) - 1);
      EXPECT_EQ(connect(file, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    } else {
      ConnectTcp(file);
    }
    return file;
  }

  void ConnectTcp(int file) const {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port =
        htons(static_cast<uint16_t>(std::stoi(address_.substr(address_.rfind(':') + 1))));
    EXPECT_EQ(connect(file, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0)
        << std::strerror(errno);
  }

  // True once the other side has closed the connection.
  static bool IsClosedInTime(int file) {
    pollfd waiting{file, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(kPatience.count())) != 1) return false;
    char byte = 0;
    return recv(file, &byte, 1, 0) <= 0;
  }

  bool AcceptsInTime(size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      {
        const std::lock_guard lock(mutex_);
        if (accepted_.size() >= count) return true;
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  }

  size_t accepted_count() {
    const std::lock_guard lock(mutex_);
    return accepted_.size();
  }

  std::string address_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  std::vector<int> clients_;
  std::mutex mutex_;
  std::vector<int> accepted_;
  std::optional<uid_t> peer_;  // of the last one
};

// Lowers the limit of open files while it lives.
class FileLimit {
 public:
  explicit FileLimit(rlim_t limit) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit lowered{limit, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
  }
  ~FileLimit() { setrlimit(RLIMIT_NOFILE, &before_); }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
};

// The number that the next file will have.
int NextFile() {
  const int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(file);
  return file;
}

TEST_F(ConnectionAcceptorTest, HandsConnectionsOn) {
  ASSERT_NO_FATAL_FAILURE(Listen("127.0.0.1:0"));

  for (int i = 0; i < 100; ++i) Connect();

  EXPECT_TRUE(AcceptsInTime(100));
  EXPECT_EQ(acceptor_->stats().accepted, 100);
  char byte = 'x';
  ASSERT_EQ(send(clients_.back(), &byte, 1, 0), 1);
}

TEST_F(ConnectionAcceptorTest, AcceptsNothingAfterStop) {
  ASSERT_NO_FATAL_FAILURE(Listen("127.0.0.1:0"));
  Connect();
  ASSERT_TRUE(AcceptsInTime(1));

  acceptor_->Stop();

  EXPECT_FALSE(ListenOn(address_, 0600)->empty()) << "the port is free again";
}

TEST_F(ConnectionAcceptorTest, ClosesConnectionsThatWouldTakeTheFilesOfOthers) {
  AcceptorOptions options;
  options.file_count_max = NextFile() + 16;
  ASSERT_NO_FATAL_FAILURE(Listen("127.0.0.1:0", options));

  std::vector<int> files;
  for (int i = 0; i < 32; ++i) files.push_back(Connect());

  EXPECT_TRUE(IsClosedInTime(files.back()));
  EXPECT_LT(accepted_count(), 16);
  EXPECT_GT(acceptor_->stats().refused_for_files, 0);
}

TEST_F(ConnectionAcceptorTest, LivesThroughTheLackOfFiles) {
  ASSERT_NO_FATAL_FAILURE(Listen("127.0.0.1:0"));
  const int before = NextFile();
  // Clients first: here they need files of the same process.
  for (int i = 0; i < 8; ++i) {
    clients_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  {
    const FileLimit limit(static_cast<rlim_t>(before));
    for (const int client : clients_) ConnectTcp(client);

    EXPECT_TRUE(IsClosedInTime(clients_[0])) << "a client is told instead of hanging";
    EXPECT_GT(acceptor_->stats().failed_accepts, 0);
    EXPECT_EQ(accepted_count(), 0);
  }

  Connect();

  EXPECT_TRUE(AcceptsInTime(1));
}

TEST_F(ConnectionAcceptorTest, AUnixSocketKnowsItsUsers) {
  const TempDirectory directory;
  const std::string address = "unix:" + (directory / "socket");
  ASSERT_NO_FATAL_FAILURE(Listen(address, {.unix_users = {54'321}}));

  Connect();

  // The server's own user may always connect; root too, who runs this test in containers.
  EXPECT_TRUE(AcceptsInTime(1));
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(peer_, geteuid());
}

TEST_F(ConnectionAcceptorTest, AnotherUserIsTurnedAwayFromAUnixSocket) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  constexpr uid_t kNobody = 65'534;
  const TempDirectory directory;
  const std::string address = "unix:" + (directory / "socket");
  ASSERT_NO_FATAL_FAILURE(Listen(address, {.unix_users = {54'321}}));

  const pid_t child = fork();
  if (child == 0) {
    // The file itself lets everybody in.
    if (chmod((directory / "socket").c_str(), 0666) != 0) _exit(2);
    if (chmod(directory.path().c_str(), 0755) != 0) _exit(3);
    if (seteuid(kNobody) != 0) _exit(4);
    _exit(IsClosedInTime(Connect()) ? 0 : 1);
  }
  int outcome = -1;
  ASSERT_EQ(waitpid(child, &outcome, 0), child);

  EXPECT_EQ(outcome, 0);
  EXPECT_EQ(acceptor_->stats().refused_users, 1);
}

}  // namespace
}  // namespace alaya
