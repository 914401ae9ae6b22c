// SessionService over the engine: convert, one engine call, convert.

#ifndef ALAYA_SERVER_RPC_SESSION_SERVICE_H_
#define ALAYA_SERVER_RPC_SESSION_SERVICE_H_

#include <cstdint>

#include "alaya/v1/session_service.grpc.pb.h"
#include "server/rpc/attend_stream.h"
#include "server/rpc/service_context.h"

namespace alaya {

class SessionServiceHandler final : public v1::SessionService::CallbackService {
 public:
  // `service` and `streams` must outlive it.
  SessionServiceHandler(const ServiceContext& service, AttendStreams* streams,
                        uint32_t max_requests_in_flight_per_stream)
      : service_(service),
        streams_(streams),
        max_requests_in_flight_per_stream_(max_requests_in_flight_per_stream) {}

  grpc::ServerUnaryReactor* CreateSession(grpc::CallbackServerContext* call,
                                          const v1::CreateSessionRequest* request,
                                          v1::CreateSessionResponse* response) override;
  grpc::ServerBidiReactor<v1::AttendRequest, v1::AttendResponse>* Attend(
      grpc::CallbackServerContext* call) override;
  grpc::ServerUnaryReactor* StoreSession(grpc::CallbackServerContext* call,
                                         const v1::StoreSessionRequest* request,
                                         v1::StoreSessionResponse* response) override;
  grpc::ServerUnaryReactor* ForkSession(grpc::CallbackServerContext* call,
                                        const v1::ForkSessionRequest* request,
                                        v1::ForkSessionResponse* response) override;
  grpc::ServerUnaryReactor* TruncateSession(grpc::CallbackServerContext* call,
                                            const v1::TruncateSessionRequest* request,
                                            v1::TruncateSessionResponse* response) override;
  grpc::ServerUnaryReactor* CloseSession(grpc::CallbackServerContext* call,
                                         const v1::CloseSessionRequest* request,
                                         v1::CloseSessionResponse* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* call,
                                       const v1::GetSessionRequest* request,
                                       v1::GetSessionResponse* response) override;
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* call,
                                         const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;

 private:
  const ServiceContext& service_;
  AttendStreams* const streams_;
  const uint32_t max_requests_in_flight_per_stream_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_SESSION_SERVICE_H_
