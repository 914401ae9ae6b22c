#include "server/rpc/service_context.h"

#include <string>
#include <utility>

#include "server/engine/quota_error.h"

namespace alaya {

Deadline DeadlineOf(const grpc::CallbackServerContext& call) {
  const auto deadline = call.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return Deadline::max();
  const auto remaining = deadline - std::chrono::system_clock::now();
  const auto now = std::chrono::steady_clock::now();
  // Years away is as good as none, and the sum would overflow.
  if (remaining > std::chrono::hours(24 * 365)) return Deadline::max();
  return now + std::chrono::duration_cast<Deadline::duration>(remaining);
}

Status CallRecord::Start() {
  service_.observer->CallStarted(info());
  ALAYA_ASSIGN_OR_RETURN(
      caller_, service_.access.Admit(call_, method_ == "AttendStream" ? "Attend" : method_));
  ALAYA_RETURN_IF_ERROR(service_.gate->Enter());
  admitted_ = true;
  account_ = service_.engine->tenants().AccountOf(caller_.tenant());
  ALAYA_ASSIGN_OR_RETURN(stream_, TenantAccount::TakeShare(account_, QuotaKind::kStreams, 1));
  return CountRequest();
}

Status CallRecord::CountRequest() const {
  return account_->CountRequest(std::chrono::steady_clock::now());
}

StatusOr<TenantAccount::Share> CallRecord::TakeBytes(uint64_t bytes) const {
  return TenantAccount::TakeShare(account_, QuotaKind::kBytesInFlight, bytes);
}

CallRecord::Taken CallRecord::TakeBytesAnyway(uint64_t bytes) const {
  StatusOr<TenantAccount::Share> share = TakeBytes(bytes);
  if (share.ok()) return {.share = *std::move(share)};
  return {.share = TenantAccount::TakeShareAnyway(account_, QuotaKind::kBytesInFlight, bytes),
          .within_limits = false};
}

void CallRecord::Post(std::function<void()> task) const {
  service_.pool->Post(std::move(task), service_.pool->LaneOf(caller_.tenant()));
}

Status CallRecord::AdmitUnary(uint64_t bytes) {
  const size_t waiting = service_.pool->queue_length();
  if (waiting >= service_.limits.max_waiting_calls) {
    return QuotaError({.subject = TenantQuota::kTotalSubject,
                       .description = std::to_string(waiting) + " calls wait for a thread, " +
                                      "max_waiting_calls is " +
                                      std::to_string(service_.limits.max_waiting_calls),
                       .retry_after = kRetrySoon});
  }
  ALAYA_ASSIGN_OR_RETURN(bytes_, TakeBytes(bytes));
  return OkStatus();
}

void CallRecord::Finish(const Status& status) {
  bytes_.Release();
  service_.observer->CallFinished(info(), status, std::chrono::steady_clock::now() - start_);
  stream_.Release();
  if (admitted_) service_.gate->Leave();
}

}  // namespace alaya
