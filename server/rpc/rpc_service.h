// A gRPC service whose callers are judged before anything that they send is read.
//
// gRPC hands over a unary call, or one that is answered by a stream, with its message in
// memory: whoever reaches the port could have the server hold what it likes. On the wire
// all methods are alike, some messages each way, so here all are served as streams, and a
// message is read when its sender is admitted. That takes one more turn of gRPC's threads:
// a call that does nothing lasts 90 to 125 us instead of 75 to 105.

#ifndef ALAYA_SERVER_RPC_RPC_SERVICE_H_
#define ALAYA_SERVER_RPC_RPC_SERVICE_H_

#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "google/protobuf/descriptor.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"
#include "grpcpp/impl/rpc_service_method.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/service_context.h"
#include "server/rpc/unary_call.h"

namespace alaya {

// Methods are known by their requests: GetContext takes a GetContextRequest.
class RpcService : public grpc::Service {
 protected:
  using Context = grpc::CallbackServerContext;

  // `service` must outlive it.
  explicit RpcService(const ServiceContext& service) : service_(service) {}

  // One message each way; `handle` is a member of the derived class and may block.
  template <typename Self, typename Request, typename Response>
  void AddUnary(Status (Self::*handle)(const Caller&, const Request&, Response*)) {
    using Call = UnaryCall<Request, Response>;
    AddStream<Request, Response>(
        [this, method = MethodOf(*Request::descriptor()).name(),
         handler = typename Call::Handler(std::bind_front(handle, static_cast<Self*>(this)))](
            Context* call) ->
        typename Call::Reactor* { return new Call(service_, method, handler, call); });
  }

  // Any number of messages each way. `start` makes the reactor of a call.
  template <typename Request, typename Response>
  void AddStream(std::function<grpc::ServerBidiReactor<Request, Response>*(Context*)> start) {
    Add(MethodOf(*Request::descriptor()), grpc::internal::RpcMethod::BIDI_STREAMING,
        new grpc::internal::CallbackBidiHandler<Request, Response>(std::move(start)));
  }

  // Many messages, one answer.
  template <typename Request, typename Response>
  void AddUpload(
      std::function<grpc::ServerReadReactor<Request>*(Context*, Response* response)> start) {
    Add(MethodOf(*Request::descriptor()), grpc::internal::RpcMethod::CLIENT_STREAMING,
        new grpc::internal::CallbackClientStreamingHandler<Request, Response>(std::move(start)));
  }

  const ServiceContext& service_;

 private:
  using Method = google::protobuf::MethodDescriptor;

  static const Method& MethodOf(const google::protobuf::Descriptor& request);
  // Takes the handler.
  void Add(const Method& method, grpc::internal::RpcMethod::RpcType type,
           grpc::internal::MethodHandler* handler);

  std::deque<std::string> paths_;  // gRPC keeps pointers to them
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_RPC_SERVICE_H_
