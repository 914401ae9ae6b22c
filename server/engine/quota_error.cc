#include "server/engine/quota_error.h"

#include <string>

#include "absl/strings/cord.h"

namespace alaya {
namespace {

// Payload of a Status inside this process: how many milliseconds, then the subject.
constexpr char kType[] = "alaya.QuotaViolation";

}  // namespace

Status QuotaError(const QuotaViolation& violation) {
  Status status = ResourceExhausted(violation.subject + ": " + violation.description);
  status.SetPayload(
      kType, absl::Cord(std::to_string(violation.retry_after.count()) + " " + violation.subject));
  return status;
}

std::optional<QuotaViolation> QuotaViolationOf(const Status& status) {
  const auto payload = status.GetPayload(kType);
  if (!payload) return std::nullopt;
  const std::string text(*payload);
  const size_t blank = text.find(' ');
  QuotaViolation violation;
  violation.retry_after = std::chrono::milliseconds(std::stoll(text.substr(0, blank)));
  violation.subject = text.substr(blank + 1);
  violation.description = std::string(Message(status)).substr(violation.subject.size() + 2);
  return violation;
}

}  // namespace alaya
