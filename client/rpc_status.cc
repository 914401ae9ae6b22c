#include "client/rpc_status.h"

#include <string>

#include "absl/strings/cord.h"

namespace alaya::client {
namespace {

constexpr char kErrorInfoTypeUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";

// gRPC's numbers are absl's; a number that neither knows is an error all the same.
StatusCode ToCode(int code) {
  const bool known = code >= static_cast<int>(StatusCode::kOk) &&
                     code <= static_cast<int>(StatusCode::kUnauthenticated);
  return known ? static_cast<StatusCode>(code) : StatusCode::kUnknown;
}

}  // namespace

Status ToStatus(const google::rpc::Status& status) {
  Status result = MakeError(ToCode(status.code()), status.message());
  if (result.ok()) return result;
  for (const auto& detail : status.details()) {
    result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  google::rpc::Status proto;
  // Details that do not parse are left out: the code and the message still count.
  if (!proto.ParseFromString(status.error_details())) proto.clear_details();
  proto.set_code(static_cast<int>(status.error_code()));
  proto.set_message(status.error_message());
  return ToStatus(proto);
}

std::optional<google::rpc::ErrorInfo> ErrorInfoOf(const Status& status) {
  const auto payload = status.GetPayload(kErrorInfoTypeUrl);
  if (!payload.has_value()) return std::nullopt;
  google::rpc::ErrorInfo info;
  if (!info.ParseFromString(std::string(*payload))) return std::nullopt;
  return info;
}

}  // namespace alaya::client
