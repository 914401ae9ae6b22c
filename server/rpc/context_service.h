// ContextService over the engine: convert, one engine call, convert.

#ifndef ALAYA_SERVER_RPC_CONTEXT_SERVICE_H_
#define ALAYA_SERVER_RPC_CONTEXT_SERVICE_H_

#include "alaya/v1/context_service.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace alaya {

class ContextServiceHandler final : public v1::ContextService::WithRawCallbackMethod_ReadContext<
                                        v1::ContextService::CallbackService> {
 public:
  // `service` must outlive it.
  explicit ContextServiceHandler(const ServiceContext& service) : service_(service) {}

  grpc::ServerReadReactor<v1::ImportContextRequest>* ImportContext(
      grpc::CallbackServerContext* call, v1::ImportContextResponse* response) override;
  grpc::ServerUnaryReactor* MatchContext(grpc::CallbackServerContext* call,
                                         const v1::MatchContextRequest* request,
                                         v1::MatchContextResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* ReadContext(grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* GetContext(grpc::CallbackServerContext* call,
                                       const v1::GetContextRequest* request,
                                       v1::GetContextResponse* response) override;
  grpc::ServerUnaryReactor* ListContexts(grpc::CallbackServerContext* call,
                                         const v1::ListContextsRequest* request,
                                         v1::ListContextsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateContext(grpc::CallbackServerContext* call,
                                          const v1::UpdateContextRequest* request,
                                          v1::UpdateContextResponse* response) override;
  grpc::ServerUnaryReactor* DeleteContext(grpc::CallbackServerContext* call,
                                          const v1::DeleteContextRequest* request,
                                          v1::DeleteContextResponse* response) override;
  grpc::ServerUnaryReactor* SearchContext(grpc::CallbackServerContext* call,
                                          const v1::SearchContextRequest* request,
                                          v1::SearchContextResponse* response) override;

 private:
  const ServiceContext& service_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONTEXT_SERVICE_H_
