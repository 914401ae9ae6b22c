// One call, one answer: runs a handler on the worker pool.

#ifndef ALAYA_SERVER_RPC_UNARY_CALL_H_
#define ALAYA_SERVER_RPC_UNARY_CALL_H_

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/service_context.h"
#include "server/rpc/status_details.h"

namespace alaya {

// Calls `handler(caller)`, which returns a Status, on the pool and finishes the call
// with it. A call that is cancelled or too late before its turn does not run; one for which
// too many wait, or too many bytes are under way, is refused at once.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* RunUnary(const ServiceContext& service, grpc::CallbackServerContext* call,
                                   std::string_view method, const Request& request,
                                   Handler handler) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  auto record = std::make_shared<CallRecord>(service, method, *call);
  const auto finish = [reactor, record](const Status& status) {
    // Before the answer, so that a client that has it finds it counted.
    record->Finish(status);
    reactor->Finish(ToGrpcStatus(status));
  };
  Status admitted = record->Start();
  if (admitted.ok()) admitted = record->AdmitUnary(request.ByteSizeLong());
  if (!admitted.ok()) {
    finish(admitted);
    return reactor;
  }
  record->Post([call, record, finish, handler = std::move(handler)]() mutable {
    if (call->IsCancelled()) {
      finish(MakeError(StatusCode::kCancelled, "the caller cancelled"));
    } else if (std::chrono::steady_clock::now() >= DeadlineOf(*call)) {
      finish(MakeError(StatusCode::kDeadlineExceeded, "the deadline passed before the call began"));
    } else {
      finish(handler(record->caller()));
    }
  });
  return reactor;
}

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_UNARY_CALL_H_
