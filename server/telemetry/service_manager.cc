#include "server/telemetry/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace alaya {

Status NotifyServiceManager(const std::string& socket, std::string_view state) {
  if (socket.empty()) return OkStatus();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool is_named = socket.front() == '/' || socket.front() == '@';
  if (!is_named || socket.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("NOTIFY_SOCKET '" + socket + "' names no socket");
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  if (socket.front() == '@') address.sun_path[0] = '\0';
  const auto address_bytes =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket.size());

  const int file = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool sent =
      file >= 0 && ::sendto(file, state.data(), state.size(), MSG_NOSIGNAL,
                            reinterpret_cast<const sockaddr*>(&address), address_bytes) >= 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  if (sent) return OkStatus();
  return Unavailable("cannot notify the service manager at " + socket + ": " +
                     std::strerror(error));
}

}  // namespace alaya
