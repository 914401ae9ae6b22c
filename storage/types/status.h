// The one error type: a code (the numbers are gRPC's) and a message that says
// what, which value, which limit.
//
// Status is for anything that a caller can meet: input, a missing context, disk,
// device, memory. A broken invariant of our own is a CHECK (check.h), never a
// Status. Functions that return Status or StatusOr throw nothing.

#ifndef ALAYA_STORAGE_TYPES_STATUS_H_
#define ALAYA_STORAGE_TYPES_STATUS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alaya {

using absl::OkStatus;
using absl::Status;
using absl::StatusCode;
using absl::StatusOr;

// Debian builds absl with its own string_view, which std's does not convert to;
// this header is the only place that knows.
inline Status MakeError(StatusCode code, std::string_view message) {
  return {code, absl::string_view(message.data(), message.size())};
}
inline std::string_view Message(const Status& status) {
  return {status.message().data(), status.message().size()};
}

inline Status InvalidArgument(std::string_view message) {
  return MakeError(StatusCode::kInvalidArgument, message);
}
inline Status NotFound(std::string_view message) {
  return MakeError(StatusCode::kNotFound, message);
}
inline Status AlreadyExists(std::string_view message) {
  return MakeError(StatusCode::kAlreadyExists, message);
}
inline Status FailedPrecondition(std::string_view message) {
  return MakeError(StatusCode::kFailedPrecondition, message);
}
inline Status ResourceExhausted(std::string_view message) {
  return MakeError(StatusCode::kResourceExhausted, message);
}
inline Status DataLoss(std::string_view message) {
  return MakeError(StatusCode::kDataLoss, message);
}
inline Status Unavailable(std::string_view message) {
  return MakeError(StatusCode::kUnavailable, message);
}
inline Status Internal(std::string_view message) {
  return MakeError(StatusCode::kInternal, message);
}

// The same error with "context: " before its message.
inline Status Annotate(const Status& status, std::string_view context) {
  if (status.ok()) return status;
  return MakeError(status.code(), std::string(context) + ": " + std::string(Message(status)));
}

}  // namespace alaya

#define ALAYA_RETURN_IF_ERROR(expression)                                      \
  do {                                                                         \
    if (::alaya::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

// ALAYA_ASSIGN_OR_RETURN(auto x, F()); declares x from a StatusOr, or returns its error.
// NOLINTBEGIN(bugprone-macro-parentheses): a declaration cannot stand in parentheses.
#define ALAYA_ASSIGN_OR_RETURN(declaration, expression) \
  ALAYA_ASSIGN_OR_RETURN_(ALAYA_CONCAT_(result_, __LINE__), declaration, expression)
#define ALAYA_ASSIGN_OR_RETURN_(result, declaration, expression) \
  auto result = (expression);                                    \
  if (!result.ok()) return std::move(result).status();           \
  declaration = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)
#define ALAYA_CONCAT_(a, b) ALAYA_CONCAT_INNER_(a, b)
#define ALAYA_CONCAT_INNER_(a, b) a##b

#endif  // ALAYA_STORAGE_TYPES_STATUS_H_
