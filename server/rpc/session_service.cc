#include "server/rpc/session_service.h"

#include <string>
#include <vector>

#include "server/rpc/convert_context_service.h"
#include "server/rpc/convert_session_service.h"
#include "server/rpc/page_token.h"
#include "server/rpc/unary_call.h"

namespace alaya {

grpc::ServerUnaryReactor* SessionServiceHandler::CreateSession(
    grpc::CallbackServerContext* call, const v1::CreateSessionRequest* request,
    v1::CreateSessionResponse* response) {
  return RunUnary(service_, call, "CreateSession", *request,
                  [this, request, response](const Caller& caller) -> Status {
                    ALAYA_ASSIGN_OR_RETURN(const CreateSessionParams params,
                                           FromProto(*request, caller.tenant(), service_.limits));
                    ALAYA_ASSIGN_OR_RETURN(const SessionInfo session,
                                           service_.engine->CreateSession(params));
                    response->set_session_id(session.session_id);
                    response->set_reused_tokens(session.reused_tokens);
                    response->set_context_id(session.context_id);
                    return OkStatus();
                  });
}

grpc::ServerBidiReactor<v1::AttendRequest, v1::AttendResponse>* SessionServiceHandler::Attend(
    grpc::CallbackServerContext* call) {
  return AttendStream::Start(service_, streams_, max_requests_in_flight_per_stream_, call);
}

grpc::ServerUnaryReactor* SessionServiceHandler::StoreSession(
    grpc::CallbackServerContext* call, const v1::StoreSessionRequest* request,
    v1::StoreSessionResponse* response) {
  return RunUnary(service_, call, "StoreSession", *request,
                  [this, request, response](const Caller& caller) -> Status {
                    ALAYA_ASSIGN_OR_RETURN(const StoreSessionParams params,
                                           FromProto(*request, caller.tenant(), service_.limits));
                    ALAYA_ASSIGN_OR_RETURN(const ImportResult result,
                                           service_.engine->StoreSession(params));
                    ToProto(result, response);
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* SessionServiceHandler::ForkSession(grpc::CallbackServerContext* call,
                                                             const v1::ForkSessionRequest* request,
                                                             v1::ForkSessionResponse* response) {
  return RunUnary(service_, call, "ForkSession", *request,
                  [this, request, response](const Caller& caller) -> Status {
                    ALAYA_ASSIGN_OR_RETURN(const std::string id,
                                           SessionIdFromProto(request->session_id()));
                    ALAYA_ASSIGN_OR_RETURN(const std::string fork,
                                           service_.engine->ForkSession(caller.tenant(), id));
                    response->set_session_id(fork);
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* SessionServiceHandler::TruncateSession(
    grpc::CallbackServerContext* call, const v1::TruncateSessionRequest* request,
    v1::TruncateSessionResponse* /*response*/) {
  return RunUnary(
      service_, call, "TruncateSession", *request, [this, request](const Caller& caller) -> Status {
        ALAYA_ASSIGN_OR_RETURN(const std::string id, SessionIdFromProto(request->session_id()));
        return service_.engine->TruncateSession(caller.tenant(), id, request->token_count());
      });
}

grpc::ServerUnaryReactor* SessionServiceHandler::CloseSession(
    grpc::CallbackServerContext* call, const v1::CloseSessionRequest* request,
    v1::CloseSessionResponse* /*response*/) {
  return RunUnary(
      service_, call, "CloseSession", *request, [this, request](const Caller& caller) -> Status {
        ALAYA_ASSIGN_OR_RETURN(const std::string id, SessionIdFromProto(request->session_id()));
        return service_.engine->CloseSession(caller.tenant(), id);
      });
}

grpc::ServerUnaryReactor* SessionServiceHandler::GetSession(grpc::CallbackServerContext* call,
                                                            const v1::GetSessionRequest* request,
                                                            v1::GetSessionResponse* response) {
  return RunUnary(service_, call, "GetSession", *request,
                  [this, request, response](const Caller& caller) -> Status {
                    ALAYA_ASSIGN_OR_RETURN(const std::string id,
                                           SessionIdFromProto(request->session_id()));
                    ALAYA_ASSIGN_OR_RETURN(const SessionInfo session,
                                           service_.engine->GetSession(caller.tenant(), id));
                    ToProto(session, response->mutable_session());
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* SessionServiceHandler::ListSessions(
    grpc::CallbackServerContext* call, const v1::ListSessionsRequest* request,
    v1::ListSessionsResponse* response) {
  return RunUnary(service_, call, "ListSessions", *request,
                  [this, request, response](const Caller& caller) -> Status {
                    ALAYA_ASSIGN_OR_RETURN(const ListSessionsParams params, FromProto(*request));
                    // One more than the page holds tells whether there is a next one.
                    const std::vector<SessionInfo> sessions = service_.engine->ListSessions(
                        caller.tenant(), params.after_id, params.page_size + 1);
                    for (const SessionInfo& session : sessions) {
                      if (static_cast<size_t>(response->sessions_size()) == params.page_size) {
                        response->set_next_page_token(EncodePageToken(
                            params.listing, response->sessions().rbegin()->session_id()));
                        break;
                      }
                      ToProto(session, response->add_sessions());
                    }
                    return OkStatus();
                  });
}

}  // namespace alaya
