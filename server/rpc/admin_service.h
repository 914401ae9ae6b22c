// AdminService over the engine and the process around it.

#ifndef ALAYA_SERVER_RPC_ADMIN_SERVICE_H_
#define ALAYA_SERVER_RPC_ADMIN_SERVICE_H_

#include <cstdint>
#include <functional>
#include <string>

#include "alaya/v1/admin_service.pb.h"
#include "server/rpc/rpc_options.h"
#include "server/rpc/rpc_service.h"

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

class AdminServiceHandler final : public RpcService {
 public:
  // `service`, `options` and `self` must outlive it.
  AdminServiceHandler(const ServiceContext& service, const RpcOptions& options,
                      const ServerSelf& self);

 private:
  Status RegisterModel(const Caller& caller, const v1::RegisterModelRequest& request,
                       v1::RegisterModelResponse* response);
  Status ListModels(const Caller& caller, const v1::ListModelsRequest& request,
                    v1::ListModelsResponse* response);
  Status GetServerInfo(const Caller& caller, const v1::GetServerInfoRequest& request,
                       v1::GetServerInfoResponse* response);
  Status GetStats(const Caller& caller, const v1::GetStatsRequest& request,
                  v1::GetStatsResponse* response);
  Status CreateBackup(const Caller& caller, const v1::CreateBackupRequest& request,
                      v1::CreateBackupResponse* response);
  Status CompactStorage(const Caller& caller, const v1::CompactStorageRequest& request,
                        v1::CompactStorageResponse* response);
  Status SetLogLevel(const Caller& caller, const v1::SetLogLevelRequest& request,
                     v1::SetLogLevelResponse* response);

  const RpcOptions& options_;
  const ServerSelf& self_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_ADMIN_SERVICE_H_
