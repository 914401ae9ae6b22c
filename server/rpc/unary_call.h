// One call, one answer: runs a handler on the worker pool.

#ifndef ALAYA_SERVER_RPC_UNARY_CALL_H_
#define ALAYA_SERVER_RPC_UNARY_CALL_H_

#include <chrono>
#include <functional>
#include <string_view>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/service_context.h"
#include "server/rpc/status_details.h"

namespace alaya {

// The reactor of a call, which is a stream of one message each way (rpc_service.h says
// why); it owns itself. The message is read once the caller is admitted. A call that is
// cancelled or too late before its turn does not run; one for which too many wait, or too
// many bytes are under way, is refused at once.
template <typename Request, typename Response>
class UnaryCall final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  using Reactor = grpc::ServerBidiReactor<Request, Response>;
  using Handler = std::function<Status(const Caller&, const Request&, Response*)>;

  // `service`, `method`, `handler` and `call` outlive it. The handler may block.
  UnaryCall(const ServiceContext& service, std::string_view method, const Handler& handler,
            grpc::CallbackServerContext* call)
      : handler_(handler), call_(call), record_(service, method, *call) {
    if (const Status admitted = record_.Start(); !admitted.ok()) {
      End(admitted);
    } else {
      this->StartRead(&request_);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(MessageError(Request::descriptor()->full_name()));
    if (const Status fits = record_.AdmitUnary(request_.ByteSizeLong()); !fits.ok()) {
      return End(fits);
    }
    record_.Post([this] { End(Run()); });
  }
  void OnDone() override { delete this; }

 private:
  Status Run() {
    if (call_->IsCancelled()) return MakeError(StatusCode::kCancelled, "the caller cancelled");
    if (std::chrono::steady_clock::now() >= DeadlineOf(*call_)) {
      return MakeError(StatusCode::kDeadlineExceeded, "the deadline passed before the call began");
    }
    return handler_(record_.caller(), request_, &response_);
  }

  // The object may be gone afterwards.
  void End(const Status& status) {
    // Before the answer, so that a client that has it finds it counted.
    record_.Finish(status);
    if (!status.ok()) return this->Finish(ToGrpcStatus(status));
    this->StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  const Handler& handler_;
  grpc::CallbackServerContext* const call_;
  CallRecord record_;
  Request request_;
  Response response_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_UNARY_CALL_H_
