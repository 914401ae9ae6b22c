#include "server/rpc/admin_service.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "index/attention/attention_device.h"
#include "index/attention/backend.h"
#include "server/rpc/convert_admin_service.h"
#include "server/rpc/convert_fields.h"

namespace alaya {

AdminServiceHandler::AdminServiceHandler(const ServiceContext& service, const RpcOptions& options,
                                         const ServerSelf& self)
    : RpcService(service), options_(options), self_(self) {
  AddUnary(&AdminServiceHandler::RegisterModel);
  AddUnary(&AdminServiceHandler::ListModels);
  AddUnary(&AdminServiceHandler::GetServerInfo);
  AddUnary(&AdminServiceHandler::GetStats);
  AddUnary(&AdminServiceHandler::CreateBackup);
  AddUnary(&AdminServiceHandler::CompactStorage);
  AddUnary(&AdminServiceHandler::SetLogLevel);
}

Status AdminServiceHandler::RegisterModel(const Caller& caller,
                                          const v1::RegisterModelRequest& request,
                                          v1::RegisterModelResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const Model model, FromProto(request));
  const std::vector<Model> known = service_.engine->ListModels();
  if (std::find(known.begin(), known.end(), model) == known.end()) {
    ALAYA_RETURN_IF_ERROR(caller.CheckRole(Role::kAdmin, "a new model"));
  }
  ALAYA_ASSIGN_OR_RETURN(const bool created, service_.engine->RegisterModel(model));
  response->set_created(created);
  return OkStatus();
}

Status AdminServiceHandler::ListModels(const Caller& /*caller*/,
                                       const v1::ListModelsRequest& /*request*/,
                                       v1::ListModelsResponse* response) {
  std::vector<Model> models = service_.engine->ListModels();
  std::sort(models.begin(), models.end(),
            [](const Model& a, const Model& b) { return a.name < b.name; });
  for (const Model& model : models) ToProto(model, response->add_models());
  return OkStatus();
}

Status AdminServiceHandler::GetServerInfo(const Caller& caller,
                                          const v1::GetServerInfoRequest& /*request*/,
                                          v1::GetServerInfoResponse* response) {
  response->set_version(self_.version);
  response->set_build(self_.build);
  ToProto(self_.start_time, response->mutable_start_time());
  const TenantQuota& quota = service_.engine->tenants();
  ToProto(options_, service_.limits.engine, quota.TotalLimits(), response->mutable_limits());
  ToProto(quota.LimitsOf(caller.tenant()), response->mutable_tenant_limits());
  const auto add = [response](const auto& device, uint64_t memory_budget_bytes) {
    v1::Device* proto = response->add_devices();
    proto->set_name(device.name());
    proto->set_description(device.description());
    proto->set_memory_budget_bytes(memory_budget_bytes);
  };
  for (const AttentionBackend* backend : service_.engine->backends()) {
    add(*backend, self_.memory_budget_bytes);
  }
  if (const AttentionDevice* gpu = service_.engine->device(); gpu != nullptr) {
    add(*gpu, self_.gpu_memory_budget_bytes);
  }
  return OkStatus();
}

Status AdminServiceHandler::GetStats(const Caller& /*caller*/,
                                     const v1::GetStatsRequest& /*request*/,
                                     v1::GetStatsResponse* response) {
  ToProto(service_.engine->stats(), response);
  ToProto(service_.engine->usage(), response);
  for (const AttendStageTimes& times : service_.observer->attend_stages()) {
    ToProto(times, response->add_attend_stages());
  }
  response->set_process_resident_bytes(self_.resident_bytes());
  const std::chrono::duration<double> uptime = std::chrono::system_clock::now() - self_.start_time;
  response->set_uptime_seconds(uptime.count());
  return OkStatus();
}

Status AdminServiceHandler::CreateBackup(const Caller& /*caller*/,
                                         const v1::CreateBackupRequest& request,
                                         v1::CreateBackupResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const std::string directory, FromProto(request));
  ALAYA_ASSIGN_OR_RETURN(const uint64_t bytes, service_.engine->CreateBackup(directory));
  response->set_bytes(bytes);
  return OkStatus();
}

Status AdminServiceHandler::CompactStorage(const Caller& /*caller*/,
                                           const v1::CompactStorageRequest& /*request*/,
                                           v1::CompactStorageResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const uint64_t freed, service_.engine->CompactStorage());
  response->set_freed_bytes(freed);
  return OkStatus();
}

Status AdminServiceHandler::SetLogLevel(const Caller& /*caller*/,
                                        const v1::SetLogLevelRequest& request,
                                        v1::SetLogLevelResponse* response) {
  ALAYA_ASSIGN_OR_RETURN(const v1::LogLevel level, FromProto(request));
  response->set_previous_level(
      static_cast<v1::LogLevel>(self_.exchange_log_level(static_cast<int>(level))));
  return OkStatus();
}

}  // namespace alaya
