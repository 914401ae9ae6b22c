#include "server/rpc/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace alaya {
namespace {

// 0 if somebody accepts connections, otherwise the error.
int TryConnect(const sockaddr_un& address) {
  const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (file < 0) return errno;
  const int failed =
      connect(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(file);
  return failed;
}

}  // namespace

Status RemoveStaleSocket(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("unix:" + path + ": the path has " + std::to_string(path.size()) +
                           " bytes, a socket's may have 1 to " +
                           std::to_string(sizeof(address.sun_path) - 1));
  }
  struct stat file_status {};
  if (lstat(path.c_str(), &file_status) != 0) return OkStatus();
  if (!S_ISSOCK(file_status.st_mode)) {
    return AlreadyExists("unix:" + path + ": a file that is not a socket is there");
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (const int failed = TryConnect(address); failed != ECONNREFUSED) {
    return AlreadyExists("unix:" + path + ": " +
                         (failed == 0 ? "another process listens there" : std::strerror(failed)));
  }
  if (unlink(path.c_str()) != 0) {
    return AlreadyExists("unix:" + path +
                         ": cannot remove the left-over socket: " + std::strerror(errno));
  }
  return OkStatus();
}

}  // namespace alaya
