// Sockets that wait for connections.

#ifndef ALAYA_SERVER_RPC_LISTENING_SOCKET_H_
#define ALAYA_SERVER_RPC_LISTENING_SOCKET_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "storage/types/status.h"

namespace alaya {

// One listening socket; owns its file, and the socket file of a unix socket.
class ListeningSocket {
 public:
  // Takes `file` over.
  ListeningSocket(int file, std::string address) : file_(file), address_(std::move(address)) {}
  ListeningSocket(ListeningSocket&& other) noexcept
      : file_(std::exchange(other.file_, -1)), address_(std::move(other.address_)) {}
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();

  int file() const { return file_; }
  // With the real port: "127.0.0.1:50600", "unix:/run/alayadb.sock".
  const std::string& address() const { return address_; }
  bool is_unix() const { return address_.starts_with("unix:"); }

 private:
  int file_;
  std::string address_;
};

// Listens on host:port (port 0: any free one; a name may stand for several sockets, which
// then share the port) or unix:path, whose file gets `unix_mode`. Files are non-blocking.
//
// Errors: Unavailable or AlreadyExists, naming the address; InvalidArgument.
StatusOr<std::vector<ListeningSocket>> ListenOn(const std::string& address, mode_t unix_mode);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_LISTENING_SOCKET_H_
