// What must be true of a server once a fault is over.

#ifndef ALAYA_TESTS_FAULT_RECOVERY_CHECK_H_
#define ALAYA_TESTS_FAULT_RECOVERY_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "client/client.h"
#include "storage/types/status.h"
#include "tests/integration/kv_sequence.h"
#include "tests/support/server_process.h"

namespace alaya {

// Open sockets of a process.
size_t SocketCount(pid_t pid);

// A value of the server's /metrics; NotFound if it has no such line.
StatusOr<double> ReadMetric(const ServerProcess& server, const std::string& name);

// A context of known content that nobody deletes.
struct KnownContext {
  std::string id;
  const KvSequence* sequence = nullptr;  // with at least one token more than is stored
  size_t stored_tokens = 0;
};

// The server accepts a new connection, answers a new session on `known` rightly, stores
// a context, and lets go of everything: sessions (those left over are closed here), tails, pins,
// calls and items in flight, and sockets beyond `sockets_max`. Waits for that some seconds, since
// broken connections and cancelled calls end a little later.
//
// Errors: what does not hold.
Status CheckRecovered(const ServerProcess& server, const client::Client& client,
                      const KnownContext& known, size_t sockets_max);

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_RECOVERY_CHECK_H_
