// ContextService over the engine: convert, one engine call, convert.

#ifndef ALAYA_SERVER_RPC_CONTEXT_SERVICE_H_
#define ALAYA_SERVER_RPC_CONTEXT_SERVICE_H_

#include "alaya/v1/context_service.pb.h"
#include "server/rpc/rpc_service.h"

namespace alaya {

class ContextServiceHandler final : public RpcService {
 public:
  // `service` must outlive it.
  explicit ContextServiceHandler(const ServiceContext& service);

 private:
  Status MatchContext(const Caller& caller, const v1::MatchContextRequest& request,
                      v1::MatchContextResponse* response);
  Status GetContext(const Caller& caller, const v1::GetContextRequest& request,
                    v1::GetContextResponse* response);
  Status ListContexts(const Caller& caller, const v1::ListContextsRequest& request,
                      v1::ListContextsResponse* response);
  Status UpdateContext(const Caller& caller, const v1::UpdateContextRequest& request,
                       v1::UpdateContextResponse* response);
  Status DeleteContext(const Caller& caller, const v1::DeleteContextRequest& request,
                       v1::DeleteContextResponse* response);
  Status SearchContext(const Caller& caller, const v1::SearchContextRequest& request,
                       v1::SearchContextResponse* response);
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONTEXT_SERVICE_H_
