// What every handler needs, and what a call says about itself.

#ifndef ALAYA_SERVER_RPC_SERVICE_CONTEXT_H_
#define ALAYA_SERVER_RPC_SERVICE_CONTEXT_H_

#include <chrono>
#include <string>
#include <string_view>

#include "grpcpp/server_context.h"
#include "server/engine/engine.h"
#include "server/engine/worker_pool.h"
#include "server/rpc/call_gate.h"
#include "server/rpc/rpc_observer.h"
#include "server/rpc/rpc_options.h"
#include "server/rpc/traceparent.h"

namespace alaya {

// All pointers outlive the calls.
struct ServiceContext {
  Engine* engine = nullptr;
  WorkerPool* pool = nullptr;  // for what may block; reactions of gRPC must not
  CallGate* gate = nullptr;
  RpcObserver* observer = nullptr;
  RequestLimits limits;
};

// The owner of what a call touches. Credentials are not read yet: everyone is one tenant.
inline std::string_view TenantOf(const grpc::CallbackServerContext& /*call*/) { return "default"; }

// The call's deadline on the clock that never jumps.
Deadline DeadlineOf(const grpc::CallbackServerContext& call);

// Tells gate and observer about one call, from its start to Finish.
class CallRecord {
 public:
  CallRecord(const ServiceContext& service, std::string_view method,
             const grpc::CallbackServerContext& call)
      : service_(service),
        method_(method),
        traceparent_(TraceparentOf(call)),
        start_(std::chrono::steady_clock::now()) {}

  // Errors: Unavailable while the server drains; then Finish must still be called.
  Status Start();
  // Requires: called once.
  void Finish(const Status& status);

  std::string_view traceparent() const { return traceparent_; }

 private:
  CallInfo info() const { return {.method = method_, .traceparent = traceparent_}; }

  const ServiceContext& service_;
  const std::string_view method_;
  const std::string traceparent_;
  const std::chrono::steady_clock::time_point start_;
  bool admitted_ = false;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_SERVICE_CONTEXT_H_
