// The gRPC server: listeners, services, health, reflection and the drain.
//
// Life: Start -> calls -> Drain (once) -> destruction.

#ifndef ALAYA_SERVER_RPC_RPC_SERVER_H_
#define ALAYA_SERVER_RPC_RPC_SERVER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/access/access_options.h"
#include "server/access/certificate_stage.h"
#include "server/access/key_ring.h"
#include "server/engine/engine.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/rpc_observer.h"
#include "server/rpc/rpc_options.h"
#include "storage/types/status.h"

namespace alaya {

// What callers have to show. All pointers outlive the server.
struct RpcSecurity {
  const CertificateStage* certificates = nullptr;  // null: TCP is not encrypted
  const KeyRing* keys = nullptr;                   // null: no key is needed
  // Users who need no key on unix sockets.
  std::vector<UnixIdentity> unix_identities = {};
};

class RpcServer {
 public:
  // Listens and answers; health says SERVING. `engine` and `observer` must outlive it.
  // Errors: Unavailable, naming the address that cannot be listened on.
  static StatusOr<std::unique_ptr<RpcServer>> Start(RpcOptions options, ServerSelf self,
                                                    Engine* engine, RpcObserver* observer,
                                                    const RpcSecurity& security = {});
  // Cancels what is still running.
  ~RpcServer();

  // Where it listens, with real ports: "127.0.0.1:50600", "unix:/run/alayadb.sock".
  const std::vector<std::string>& addresses() const { return addresses_; }
  // Where it answers health checks in plain text; empty: nowhere apart.
  const std::string& health_address() const { return health_address_; }

  AcceptorStats connections() const;

  // Health says NOT_SERVING, new calls are UNAVAILABLE; returns when all calls in
  // progress are answered (true), or cancels them after `timeout` (false).
  bool Drain(std::chrono::milliseconds timeout);

 private:
  struct Parts;
  explicit RpcServer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
  std::vector<std::string> addresses_;
  std::string health_address_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_RPC_SERVER_H_
