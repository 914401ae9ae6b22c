#include "server/rpc/status_details.h"

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "server/engine/quota_error.h"
#include "server/engine/tenant_quota.h"

namespace alaya {
namespace {

// Payload of a Status between the converter and the wire.
constexpr char kErrorInfoType[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kDomain[] = "alayadb";

const char* DefaultReason(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "OK";
    case StatusCode::kCancelled:
      return "CALL_CANCELLED";
    case StatusCode::kInvalidArgument:
      return "INVALID_REQUEST";
    case StatusCode::kDeadlineExceeded:
      return "DEADLINE_PASSED";
    case StatusCode::kNotFound:
      return "RESOURCE_NOT_FOUND";
    case StatusCode::kAlreadyExists:
      return "RESOURCE_EXISTS";
    case StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case StatusCode::kUnauthenticated:
      return "NOT_AUTHENTICATED";
    case StatusCode::kResourceExhausted:
      return "LIMIT_REACHED";
    case StatusCode::kFailedPrecondition:
      return "WRONG_STATE";
    case StatusCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case StatusCode::kUnimplemented:
      return "NOT_IMPLEMENTED";
    case StatusCode::kUnavailable:
      return "SERVER_UNAVAILABLE";
    case StatusCode::kDataLoss:
      return "DATA_CORRUPTED";
    default:
      return "INTERNAL_ERROR";
  }
}

}  // namespace

namespace {

google::rpc::ErrorInfo InfoWith(std::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(kDomain);
  return info;
}

Status ErrorWith(const google::rpc::ErrorInfo& info, StatusCode code, std::string_view message) {
  Status status = MakeError(code, message);
  status.SetPayload(kErrorInfoType, absl::Cord(info.SerializeAsString()));
  return status;
}

Status FieldError(StatusCode code, std::string_view reason, const FieldPath& field,
                  std::string_view message) {
  const std::string path = field.ToString();
  google::rpc::ErrorInfo info = InfoWith(reason);
  (*info.mutable_metadata())["field"] = path;
  return ErrorWith(info, code, path + ": " + std::string(message));
}

}  // namespace

Status RequestError(std::string_view reason, const FieldPath& field, std::string_view message) {
  return FieldError(StatusCode::kInvalidArgument, reason, field, message);
}

Status RequestLimitError(const FieldPath& field, std::string_view message) {
  return FieldError(StatusCode::kResourceExhausted, DefaultReason(StatusCode::kResourceExhausted),
                    field, message);
}

Status MessageError(std::string_view type) {
  return ReasonedError(StatusCode::kInvalidArgument, "MESSAGE_MALFORMED",
                       "the message is missing, or it is no " + std::string(type));
}

Status ReasonedError(StatusCode code, std::string_view reason, std::string_view message) {
  return ErrorWith(InfoWith(reason), code, message);
}

namespace {

// Which limit is used up. Room on the disk or in memory has to be made by somebody.
std::optional<QuotaViolation> ViolationOf(const Status& status) {
  if (auto violation = QuotaViolationOf(status)) return violation;
  if (status.code() != StatusCode::kResourceExhausted) return std::nullopt;
  return QuotaViolation{.subject = TenantQuota::kTotalSubject,
                        .description = std::string(Message(status)),
                        .retry_after = kRetryLater};
}

// Which limit, and when to try again.
void AddQuotaDetails(const QuotaViolation& violation, google::rpc::Status* proto) {
  google::rpc::QuotaFailure failure;
  google::rpc::QuotaFailure::Violation* entry = failure.add_violations();
  entry->set_subject(violation.subject);
  entry->set_description(violation.description);
  proto->add_details()->PackFrom(failure);
  if (violation.retry_after.count() == 0) return;
  google::rpc::RetryInfo retry;
  const int64_t retry_ms = violation.retry_after.count();
  retry.mutable_retry_delay()->set_seconds(retry_ms / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(retry_ms % 1000 * 1'000'000));
  proto->add_details()->PackFrom(retry);
}

}  // namespace

void ToProto(const Status& status, google::rpc::Status* proto) {
  if (status.ok()) return;
  proto->set_code(static_cast<int>(status.code()));
  proto->set_message(std::string(Message(status)));
  google::protobuf::Any* detail = proto->add_details();
  detail->set_type_url(kErrorInfoType);
  if (const auto payload = status.GetPayload(kErrorInfoType)) {
    detail->set_value(std::string(*payload));
    return;
  }
  const auto violation = ViolationOf(status);
  const char* const reason = violation ? "QUOTA_EXCEEDED" : DefaultReason(status.code());
  detail->set_value(InfoWith(reason).SerializeAsString());
  if (violation) AddQuotaDetails(*violation, proto);
}

grpc::Status ToGrpcStatus(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status proto;
  ToProto(status, &proto);
  return {static_cast<grpc::StatusCode>(status.code()), proto.message(), proto.SerializeAsString()};
}

}  // namespace alaya
