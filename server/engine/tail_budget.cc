#include "server/engine/tail_budget.h"

#include <fmt/format.h>

#include "server/engine/quota_error.h"

namespace alaya {

Status TailBudget::Reserve(uint64_t bytes) {
  if (account_ != nullptr) ALAYA_RETURN_IF_ERROR(account_->Take(QuotaKind::kTailBytes, bytes));
  if (total_ != nullptr) {
    if (Status status = total_->Reserve(bytes); !status.ok()) {
      account_->Give(QuotaKind::kTailBytes, bytes);
      return status;
    }
    used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    return OkStatus();
  }
  uint64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_bytes_ || used > limit_bytes_ - bytes) {
      return QuotaError({.subject = TenantQuota::kTotalSubject,
                         .description = fmt::format(
                             "tails of all sessions: {} bytes in use, max_tail_bytes_total is {}",
                             used, limit_bytes_),
                         .retry_after = kRetryLater});
    }
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return OkStatus();
}

void TailBudget::Release(uint64_t bytes) {
  used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  if (total_ == nullptr) return;
  total_->Release(bytes);
  account_->Give(QuotaKind::kTailBytes, bytes);
}

TailBudget* TailBudgets::Of(const std::shared_ptr<TenantAccount>& account) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<TailBudget>& part = parts_[account->tenant()];
  if (part == nullptr) part = std::make_unique<TailBudget>(&total_, account);
  return part.get();
}

}  // namespace alaya
