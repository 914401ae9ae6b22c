#include "server/rpc/context_service.h"

#include <string>
#include <utility>
#include <vector>

#include "server/rpc/convert_context_service.h"
#include "server/rpc/convert_fields.h"
#include "server/rpc/import_stream.h"
#include "server/rpc/page_token.h"
#include "server/rpc/read_stream.h"

namespace alaya {

ContextServiceHandler::ContextServiceHandler(const ServiceContext& service) : RpcService(service) {
  AddUpload<v1::ImportContextRequest, v1::ImportContextResponse>(
      [this](Context* call, v1::ImportContextResponse* response) {
        return ImportStream::Start(service_, call, response);
      });
  AddUnary(&ContextServiceHandler::MatchContext);
  AddStream<v1::ReadContextRequest, grpc::ByteBuffer>(
      [this](Context* call) { return ReadStream::Start(service_, call); });
  AddUnary(&ContextServiceHandler::GetContext);
  AddUnary(&ContextServiceHandler::ListContexts);
  AddUnary(&ContextServiceHandler::UpdateContext);
  AddUnary(&ContextServiceHandler::DeleteContext);
  AddUnary(&ContextServiceHandler::SearchContext);
}

Status ContextServiceHandler::MatchContext(const Caller& caller,
                                           const v1::MatchContextRequest& request,
                                           v1::MatchContextResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const MatchParams params, FromProto(request, service_.limits));
  ALAYA_ASSIGN_OR_RETURN(
      Engine::MatchAnswer answer,
      service_.engine->MatchContext(caller.tenant(), params.model, params.tokens));
  response->set_context_id(std::move(answer.context_id));
  response->set_matched_tokens(answer.matched_tokens);
  return OkStatus();
}

Status ContextServiceHandler::GetContext(const Caller& caller, const v1::GetContextRequest& request,
                                         v1::GetContextResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const std::string id, IdFromProto(request.context_id(), {"context_id"}));
  ALAYA_ASSIGN_OR_RETURN(const auto context, service_.engine->GetContext(caller.tenant(), id));
  ToProto(*context, response->mutable_context());
  if (request.include_tokens()) {
    ALAYA_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens,
                           service_.engine->ReadTokens(*context));
    response->mutable_tokens()->Add(tokens.begin(), tokens.end());
  }
  return OkStatus();
}

Status ContextServiceHandler::ListContexts(const Caller& caller,
                                           const v1::ListContextsRequest& request,
                                           v1::ListContextsResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const ListContextsParams params, FromProto(request, caller.tenant()));
  // One more than the page holds tells whether there is a next one.
  ALAYA_ASSIGN_OR_RETURN(
      const auto contexts,
      service_.engine->ListContexts(params.filter, params.after_id, params.page_size + 1));
  for (const auto& context : contexts) {
    if (static_cast<size_t>(response->contexts_size()) == params.page_size) {
      response->set_next_page_token(
          EncodePageToken(params.listing, response->contexts().rbegin()->context_id()));
      break;
    }
    ToProto(*context, response->add_contexts());
  }
  return OkStatus();
}

Status ContextServiceHandler::UpdateContext(const Caller& caller,
                                            const v1::UpdateContextRequest& request,
                                            v1::UpdateContextResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const UpdateContextParams params, FromProto(request, caller.tenant()));
  ALAYA_ASSIGN_OR_RETURN(const auto context, service_.engine->UpdateContext(params));
  ToProto(*context, response->mutable_context());
  return OkStatus();
}

Status ContextServiceHandler::DeleteContext(const Caller& caller,
                                            const v1::DeleteContextRequest& request,
                                            v1::DeleteContextResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const std::string id, IdFromProto(request.context_id(), {"context_id"}));
  ALAYA_ASSIGN_OR_RETURN(const uint64_t freed, service_.engine->DeleteContext(caller.tenant(), id));
  response->set_freed_bytes(freed);
  return OkStatus();
}

Status ContextServiceHandler::SearchContext(const Caller& caller,
                                            const v1::SearchContextRequest& request,
                                            v1::SearchContextResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const SearchParams params,
                         FromProto(request, caller.tenant(), service_.limits));
  ALAYA_ASSIGN_OR_RETURN(const SearchAnswer answer, service_.engine->SearchContext(params));
  ToProto(answer, response);
  return OkStatus();
}

}  // namespace alaya
