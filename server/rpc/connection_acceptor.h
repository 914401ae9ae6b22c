// Accepts connections and hands them on, whatever happens.
//
// gRPC's own listener never accepts again once the process ran out of files
// (CVE-2023-4785 in the packaged 1.51). Here a thread of our own accepts, and gRPC gets
// connections that are ready. It never lets clients take the files that storage needs: the
// kernel gives the lowest free number to a new file, so a connection whose number is at
// or above `file_count_max` says that at least so many files are open, and is closed at
// once. Should others use the last file up, a file held in reserve is given up for a
// moment to accept a connection and close it, so that its client learns of it instead of
// hanging; then the acceptor waits before it tries again.
//
// Life: construction -> (connections) -> Stop or destruction.

#ifndef ALAYA_SERVER_RPC_CONNECTION_ACCEPTOR_H_
#define ALAYA_SERVER_RPC_CONNECTION_ACCEPTOR_H_

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "server/rpc/listening_socket.h"

namespace alaya {

struct AcceptorOptions {
  // Connections may use files with smaller numbers than this; 0: three quarters of the
  // process's limit (RLIMIT_NOFILE), which leaves the rest to storage.
  int file_count_max = 0;
  // Users that may connect to unix sockets beside the server's own and root; empty: all
  // whom the socket file's mode lets in.
  std::vector<uid_t> unix_users;
  // A peer that acknowledges nothing for so long is gone.
  std::chrono::milliseconds unacknowledged_max{20'000};
};

// Connections since the start.
struct AcceptorStats {
  uint64_t accepted = 0;
  uint64_t refused_for_files = 0;  // too many open files
  uint64_t refused_users = 0;      // peers of unix sockets who may not connect
  uint64_t failed_accepts = 0;     // the system refused; each was followed by a wait
};

class ConnectionAcceptor {
 public:
  // An open, non-blocking connection, and the socket that it came through.
  struct Connection {
    int file = -1;
    const ListeningSocket* socket = nullptr;
    std::optional<uid_t> user;  // of the peer, if the socket is a unix socket
  };
  // Called on the acceptor's thread; takes the file over.
  using Handler = std::function<void(const Connection& connection)>;

  ConnectionAcceptor(std::vector<ListeningSocket> sockets, AcceptorOptions options,
                     Handler handler);
  ~ConnectionAcceptor();
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  // Accepts nothing from now on and closes the sockets; the handler has returned.
  void Stop();

  // Threads: any.
  AcceptorStats stats() const;

 private:
  void Run();
  // Accepts what waits, up to a limit; false if the system has no room for more.
  bool AcceptFrom(const ListeningSocket& socket);
  void Admit(int file, const ListeningSocket& socket);
  bool MayConnect(std::optional<uid_t> user) const;
  // Gives the reserve up to tell one waiting client that there is no room.
  void RefuseOne(const ListeningSocket& socket);

  std::vector<ListeningSocket> sockets_;
  const AcceptorOptions options_;
  const Handler handler_;
  const int stop_file_;  // readable once Stop was called
  int reserve_file_;     // -1: could not be had
  std::atomic<uint64_t> accepted_{0};
  std::atomic<uint64_t> refused_for_files_{0};
  std::atomic<uint64_t> refused_users_{0};
  std::atomic<uint64_t> failed_accepts_{0};
  std::thread thread_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONNECTION_ACCEPTOR_H_
