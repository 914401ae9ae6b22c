#include "server/rpc/listening_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "server/rpc/unix_socket.h"

namespace alaya {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

Status CannotListen(const std::string& address, const std::string& reason) {
  return Unavailable("cannot listen on " + address + ": " + reason);
}
Status CannotListen(const std::string& address, int error) {
  return CannotListen(address, std::string(std::strerror(error)));
}

StatusOr<std::vector<ListeningSocket>> ListenOnPath(const std::string& address, mode_t mode) {
  const std::string path = address.substr(kUnixPrefix.size());
  ALAYA_RETURN_IF_ERROR(RemoveStaleSocket(path));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return CannotListen(address, errno);
  if (bind(file, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    const Status status = CannotListen(address, errno);
    close(file);
    return status;
  }
  std::vector<ListeningSocket> sockets;
  sockets.emplace_back(file, address);  // from here on the file is removed on an error
  // Before anybody can connect: the umask had kept all others out until here.
  if (chmod(path.c_str(), mode) != 0 || listen(file, SOMAXCONN) != 0) {
    return CannotListen(address, errno);
  }
  return sockets;
}

// A listening socket, or -1 with errno.
int ListenOnAddress(const addrinfo& info) {
  const int file = socket(info.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return -1;
  const int on = 1;
  const int off = 0;
  // So that a restart need not wait for old connections to be forgotten.
  setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // [::] takes IPv4 as well.
  if (info.ai_family == AF_INET6) setsockopt(file, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(file, info.ai_addr, info.ai_addrlen) == 0 && listen(file, SOMAXCONN) == 0) return file;
  const int error = errno;
  close(file);
  errno = error;
  return -1;
}

uint16_t* PortOf(sockaddr* address) {
  return address->sa_family == AF_INET6 ? &reinterpret_cast<sockaddr_in6*>(address)->sin6_port
                                        : &reinterpret_cast<sockaddr_in*>(address)->sin_port;
}

}  // namespace

ListeningSocket::~ListeningSocket() {
  if (file_ < 0) return;
  close(file_);
  if (is_unix()) unlink(address_.c_str() + kUnixPrefix.size());
}

StatusOr<std::vector<ListeningSocket>> ListenOn(const std::string& address, mode_t unix_mode) {
  if (address.starts_with(kUnixPrefix)) return ListenOnPath(address, unix_mode);
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return InvalidArgument(address + ": host:port is needed");
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (failure != 0) return CannotListen(address, std::string(gai_strerror(failure)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  std::vector<ListeningSocket> sockets;
  uint16_t taken_port = 0;  // in network order, as all of these
  int error = 0;
  for (addrinfo* info = found; info != nullptr; info = info->ai_next) {
    if (taken_port != 0) *PortOf(info->ai_addr) = taken_port;
    const int file = ListenOnAddress(*info);
    if (file < 0) {
      error = errno;
      // A name may have an address of a family that this machine lacks.
      if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) continue;
      return CannotListen(address, error);
    }
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    getsockname(file, reinterpret_cast<sockaddr*>(&bound), &size);
    taken_port = *PortOf(reinterpret_cast<sockaddr*>(&bound));
    sockets.emplace_back(file, address.substr(0, colon + 1) + std::to_string(ntohs(taken_port)));
  }
  if (sockets.empty()) return CannotListen(address, error);
  return sockets;
}

}  // namespace alaya
