// The error of a limit that is used up, with what a client needs to know about it.

#ifndef ALAYA_SERVER_ENGINE_QUOTA_ERROR_H_
#define ALAYA_SERVER_ENGINE_QUOTA_ERROR_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "storage/types/status.h"

namespace alaya {

// When it is worth trying again: for what ends by itself, and for what somebody must end.
inline constexpr std::chrono::milliseconds kRetrySoon{100};
inline constexpr std::chrono::milliseconds kRetryLater{5'000};

struct QuotaViolation {
  // "tenant:team-a"; "server" for limits of all tenants together; "session", "request".
  std::string subject;
  std::string description;                   // which limit, how much is used
  std::chrono::milliseconds retry_after{0};  // 0: waiting does not help
};

// RESOURCE_EXHAUSTED "subject: description".
Status QuotaError(const QuotaViolation& violation);

// What QuotaError was made of; none for other errors.
std::optional<QuotaViolation> QuotaViolationOf(const Status& status);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_QUOTA_ERROR_H_
