// What every handler needs, and what a call says about itself.

#ifndef ALAYA_SERVER_RPC_SERVICE_CONTEXT_H_
#define ALAYA_SERVER_RPC_SERVICE_CONTEXT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "grpcpp/server_context.h"
#include "server/engine/engine.h"
#include "server/engine/worker_pool.h"
#include "server/rpc/call_access.h"
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
  CallAccess access;
  RequestLimits limits;
};

// The call's deadline on the clock that never jumps.
Deadline DeadlineOf(const grpc::CallbackServerContext& call);

// One call from its start to Finish: finds out who calls and whether it may, and tells
// gate and observer.
class CallRecord {
 public:
  CallRecord(const ServiceContext& service, std::string_view method,
             const grpc::CallbackServerContext& call)
      : service_(service),
        call_(call),
        method_(method),
        traceparent_(TraceparentOf(call)),
        start_(std::chrono::steady_clock::now()) {}

  // Errors: Unauthenticated, PermissionDenied; Unavailable while the server drains;
  //   ResourceExhausted beyond the tenant's quota. Then Finish must still be called.
  Status Start();
  // For a request of so many bytes that will wait for the pool; charges them until Finish.
  // Errors: ResourceExhausted.
  Status AdmitUnary(uint64_t bytes);
  // Requires: called once.
  void Finish(const Status& status);

  std::string_view traceparent() const { return traceparent_; }
  // Requires: Start was OK.
  const Caller& caller() const { return caller_; }
  // One more request of a stream, and the bytes of a message while it is under way.
  // Requires: Start was OK. Errors: ResourceExhausted beyond a quota, of the tenant or of all.
  Status CountRequest() const;
  StatusOr<TenantAccount::Share> TakeBytes(uint64_t bytes) const;
  // The same for what is there already, and whether there was room for it.
  struct Taken {
    TenantAccount::Share share;
    bool within_limits = true;
  };
  Taken TakeBytesAnyway(uint64_t bytes) const;
  // Runs a task that may block, when it is the caller's turn.
  // Requires: Start was OK.
  void Post(std::function<void()> task) const;

 private:
  CallInfo info() const { return {.method = method_, .traceparent = traceparent_}; }

  const ServiceContext& service_;
  const grpc::CallbackServerContext& call_;
  const std::string_view method_;
  const std::string traceparent_;
  const std::chrono::steady_clock::time_point start_;
  Caller caller_;
  std::shared_ptr<TenantAccount> account_;
  TenantAccount::Share stream_;
  TenantAccount::Share bytes_;
  bool admitted_ = false;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_SERVICE_CONTEXT_H_
