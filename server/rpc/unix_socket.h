// Files of unix sockets: a socket that nobody listens on is left over from a process
// that died, and is in the way of the next one.

#ifndef ALAYA_SERVER_RPC_UNIX_SOCKET_H_
#define ALAYA_SERVER_RPC_UNIX_SOCKET_H_

#include <string>

#include "storage/types/status.h"

namespace alaya {

// Removes a left-over socket file. OK if there is none.
// Errors: AlreadyExists if somebody listens on it or it is not a socket;
//   InvalidArgument if the path is too long for a socket.
Status RemoveStaleSocket(const std::string& path);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_UNIX_SOCKET_H_
