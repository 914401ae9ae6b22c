// Which calls are repeated while the server is away, and for how long.
//
// The contract marks methods that do no harm if they run twice with idempotency_level;
// all others are never repeated, as nobody knows whether they ran.

#ifndef ALAYA_CLIENT_RETRY_POLICY_H_
#define ALAYA_CLIENT_RETRY_POLICY_H_

#include <string>

namespace alaya::client {

// A gRPC service config (JSON): UNAVAILABLE idempotent calls are repeated for about 3 s,
// which is a restart, with growing pauses.
std::string RetryServiceConfig();

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_RETRY_POLICY_H_
