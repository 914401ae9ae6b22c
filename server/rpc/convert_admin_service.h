// Requests of AdminService to the engine's words, and its answers back.

#ifndef ALAYA_SERVER_RPC_CONVERT_ADMIN_SERVICE_H_
#define ALAYA_SERVER_RPC_CONVERT_ADMIN_SERVICE_H_

#include <string>

#include "alaya/v1/admin_service.pb.h"
#include "alaya/v1/model.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/rpc_options.h"

namespace alaya {

// Errors: InvalidArgument for a shape outside the documented limits.
StatusOr<Model> FromProto(const v1::RegisterModelRequest& proto);
void ToProto(const Model& model, v1::Model* proto);

// An absolute path. Errors: InvalidArgument.
StatusOr<std::string> FromProto(const v1::CreateBackupRequest& proto);

// LOG_LEVEL_UNSPECIFIED and numbers outside the enumeration are InvalidArgument.
StatusOr<v1::LogLevel> FromProto(const v1::SetLogLevelRequest& proto);

void ToProto(const RpcOptions& options, const EngineLimits& limits, const TenantLimits& all,
             v1::Limits* proto);
void ToProto(const TenantLimits& limits, v1::TenantLimits* proto);
void ToProto(const EngineStats& stats, v1::GetStatsResponse* proto);
void ToProto(const StoreUsage& usage, v1::GetStatsResponse* proto);
void ToProto(const AttendStageTimes& times, v1::AttendStageStats* proto);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONVERT_ADMIN_SERVICE_H_
