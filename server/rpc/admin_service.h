// AdminService over the engine and the process around it.

#ifndef ALAYA_SERVER_RPC_ADMIN_SERVICE_H_
#define ALAYA_SERVER_RPC_ADMIN_SERVICE_H_

#include <cstdint>
#include <functional>
#include <string>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "server/rpc/rpc_options.h"
#include "server/rpc/service_context.h"

namespace alaya {

// What the process says about itself, and lets callers change.
struct ServerSelf {
  std::string version;
  std::string build;
  WallTime start_time;
  uint64_t memory_budget_bytes = 0;      // of the device "cpu"
  uint64_t gpu_memory_budget_bytes = 0;  // of every other device
  std::function<uint64_t()> resident_bytes;
  // Sets the log level and returns the one before; numbers of the API's LogLevel.
  std::function<int(int)> exchange_log_level;
};

class AdminServiceHandler final : public v1::AdminService::CallbackService {
 public:
  // `service`, `options` and `self` must outlive it.
  AdminServiceHandler(const ServiceContext& service, const RpcOptions& options,
                      const ServerSelf& self)
      : service_(service), options_(options), self_(self) {}

  grpc::ServerUnaryReactor* RegisterModel(grpc::CallbackServerContext* call,
                                          const v1::RegisterModelRequest* request,
                                          v1::RegisterModelResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* call,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* call,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* call,
                                     const v1::GetStatsRequest* request,
                                     v1::GetStatsResponse* response) override;
  grpc::ServerUnaryReactor* CreateBackup(grpc::CallbackServerContext* call,
                                         const v1::CreateBackupRequest* request,
                                         v1::CreateBackupResponse* response) override;
  grpc::ServerUnaryReactor* CompactStorage(grpc::CallbackServerContext* call,
                                           const v1::CompactStorageRequest* request,
                                           v1::CompactStorageResponse* response) override;
  grpc::ServerUnaryReactor* SetLogLevel(grpc::CallbackServerContext* call,
                                        const v1::SetLogLevelRequest* request,
                                        v1::SetLogLevelResponse* response) override;

 private:
  const ServiceContext& service_;
  const RpcOptions& options_;
  const ServerSelf& self_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_ADMIN_SERVICE_H_
