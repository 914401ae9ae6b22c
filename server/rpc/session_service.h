// SessionService over the engine: convert, one engine call, convert.

#ifndef ALAYA_SERVER_RPC_SESSION_SERVICE_H_
#define ALAYA_SERVER_RPC_SESSION_SERVICE_H_

#include <cstdint>

#include "alaya/v1/session_service.pb.h"
#include "server/rpc/attend_stream.h"
#include "server/rpc/rpc_service.h"

namespace alaya {

class SessionServiceHandler final : public RpcService {
 public:
  // `service` and `streams` must outlive it.
  SessionServiceHandler(const ServiceContext& service, AttendStreams* streams,
                        uint32_t max_requests_in_flight_per_stream);

 private:
  Status CreateSession(const Caller& caller, const v1::CreateSessionRequest& request,
                       v1::CreateSessionResponse* response);
  Status StoreSession(const Caller& caller, const v1::StoreSessionRequest& request,
                      v1::StoreSessionResponse* response);
  Status ForkSession(const Caller& caller, const v1::ForkSessionRequest& request,
                     v1::ForkSessionResponse* response);
  Status TruncateSession(const Caller& caller, const v1::TruncateSessionRequest& request,
                         v1::TruncateSessionResponse* response);
  Status CloseSession(const Caller& caller, const v1::CloseSessionRequest& request,
                      v1::CloseSessionResponse* response);
  Status GetSession(const Caller& caller, const v1::GetSessionRequest& request,
                    v1::GetSessionResponse* response);
  Status ListSessions(const Caller& caller, const v1::ListSessionsRequest& request,
                      v1::ListSessionsResponse* response);
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_SESSION_SERVICE_H_
