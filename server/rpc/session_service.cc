#include "server/rpc/session_service.h"

#include <string>
#include <vector>

#include "server/rpc/convert_context_service.h"
#include "server/rpc/convert_session_service.h"
#include "server/rpc/page_token.h"

namespace alaya {

SessionServiceHandler::SessionServiceHandler(const ServiceContext& service, AttendStreams* streams,
                                             uint32_t max_requests_in_flight_per_stream)
    : RpcService(service) {
  AddUnary(&SessionServiceHandler::CreateSession);
  AddStream<v1::AttendRequest, v1::AttendResponse>([=, this](Context* call) {
    return AttendStream::Start(service_, streams, max_requests_in_flight_per_stream, call);
  });
  AddUnary(&SessionServiceHandler::StoreSession);
  AddUnary(&SessionServiceHandler::ForkSession);
  AddUnary(&SessionServiceHandler::TruncateSession);
  AddUnary(&SessionServiceHandler::CloseSession);
  AddUnary(&SessionServiceHandler::GetSession);
  AddUnary(&SessionServiceHandler::ListSessions);
}

Status SessionServiceHandler::CreateSession(const Caller& caller,
                                            const v1::CreateSessionRequest& request,
                                            v1::CreateSessionResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const CreateSessionParams params,
                         FromProto(request, caller.tenant(), service_.limits));
  ALAYA_ASSIGN_OR_RETURN(const SessionInfo session, service_.engine->CreateSession(params));
  response->set_session_id(session.session_id);
  response->set_reused_tokens(session.reused_tokens);
  response->set_context_id(session.context_id);
  return OkStatus();
}

Status SessionServiceHandler::StoreSession(const Caller& caller,
                                           const v1::StoreSessionRequest& request,
                                           v1::StoreSessionResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const StoreSessionParams params,
                         FromProto(request, caller.tenant(), service_.limits));
  ALAYA_ASSIGN_OR_RETURN(const ImportResult result, service_.engine->StoreSession(params));
  ToProto(result, response);
  return OkStatus();
}

Status SessionServiceHandler::ForkSession(const Caller& caller,
                                          const v1::ForkSessionRequest& request,
                                          v1::ForkSessionResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const std::string id, SessionIdFromProto(request.session_id()));
  ALAYA_ASSIGN_OR_RETURN(const std::string fork, service_.engine->ForkSession(caller.tenant(), id));
  response->set_session_id(fork);
  return OkStatus();
}

Status SessionServiceHandler::TruncateSession(const Caller& caller,
                                              const v1::TruncateSessionRequest& request,
                                              v1::TruncateSessionResponse* /*response*/) {
  ALAYA_ASSIGN_OR_RETURN(const std::string id, SessionIdFromProto(request.session_id()));
  return service_.engine->TruncateSession(caller.tenant(), id, request.token_count());
}

Status SessionServiceHandler::CloseSession(const Caller& caller,
                                           const v1::CloseSessionRequest& request,
                                           v1::CloseSessionResponse* /*response*/) {
  ALAYA_ASSIGN_OR_RETURN(const std::string id, SessionIdFromProto(request.session_id()));
  return service_.engine->CloseSession(caller.tenant(), id);
}

Status SessionServiceHandler::GetSession(const Caller& caller, const v1::GetSessionRequest& request,
                                         v1::GetSessionResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const std::string id, SessionIdFromProto(request.session_id()));
  ALAYA_ASSIGN_OR_RETURN(const SessionInfo session,
                         service_.engine->GetSession(caller.tenant(), id));
  ToProto(session, response->mutable_session());
  return OkStatus();
}

Status SessionServiceHandler::ListSessions(const Caller& caller,
                                           const v1::ListSessionsRequest& request,
                                           v1::ListSessionsResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const ListSessionsParams params, FromProto(request));
  // One more than the page holds tells whether there is a next one.
  const std::vector<SessionInfo> sessions =
      service_.engine->ListSessions(caller.tenant(), params.after_id, params.page_size + 1);
  for (const SessionInfo& session : sessions) {
    if (static_cast<size_t>(response->sessions_size()) == params.page_size) {
      response->set_next_page_token(
          EncodePageToken(params.listing, response->sessions().rbegin()->session_id()));
      break;
    }
    ToProto(session, response->add_sessions());
  }
  return OkStatus();
}

}  // namespace alaya
