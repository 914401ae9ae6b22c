#include "server/engine/tenant_quota.h"

#include <algorithm>

#include "server/engine/quota_error.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

struct KindText {
  const char* limit;
  const char* noun;
  milliseconds retry_after;
};
constexpr std::array<KindText, kQuotaKindCount> kTexts = {
    {{"max_sessions", "sessions", kRetryLater},
     {"max_tail_bytes", "bytes of sessions' new tokens", kRetryLater},
     {"max_stored_bytes", "stored bytes", kRetryLater},
     {"max_streams", "calls", kRetrySoon},
     {"max_attend_items_in_flight", "attention items", kRetrySoon},
     {"max_bytes_in_flight", "bytes of messages under way", kRetrySoon}}};

const KindText& TextOf(QuotaKind kind) { return kTexts[static_cast<size_t>(kind)]; }

}  // namespace

TenantAccount::TenantAccount(std::string tenant, const TenantLimits& limits,
                             std::shared_ptr<TenantAccount> total)
    : tenant_(std::move(tenant)), total_(std::move(total)) {
  SetLimits(limits);
}

void TenantAccount::SetLimits(const TenantLimits& limits) {
  const auto set = [this](QuotaKind kind, uint64_t value) {
    limits_[static_cast<size_t>(kind)] = value;
  };
  set(QuotaKind::kSessions, limits.max_sessions);
  set(QuotaKind::kTailBytes, limits.max_tail_bytes);
  set(QuotaKind::kWritingBytes, limits.max_stored_bytes);
  set(QuotaKind::kStreams, limits.max_streams);
  set(QuotaKind::kAttendItems, limits.max_attend_items_in_flight);
  set(QuotaKind::kBytesInFlight, limits.max_bytes_in_flight);
  requests_per_second_ = limits.max_requests_per_second;
}

Status TenantAccount::Take(QuotaKind kind, uint64_t amount) { return TakeBeside(kind, amount, 0); }

Status TenantAccount::TakeBeside(QuotaKind kind, uint64_t amount, uint64_t beside) {
  std::atomic<uint64_t>& used = used_[static_cast<size_t>(kind)];
  const uint64_t most = limit(kind);
  uint64_t before = used.load();
  do {
    const uint64_t taken = before + beside;
    if (most > 0 && (amount > most || taken > most - amount)) return Refuse(kind, taken, amount);
  } while (!used.compare_exchange_weak(before, before + amount));
  if (total_ == nullptr) return OkStatus();
  Status status = total_->Take(kind, amount);
  if (!status.ok()) used.fetch_sub(amount);
  return status;
}

void TenantAccount::Give(QuotaKind kind, uint64_t amount) {
  used_[static_cast<size_t>(kind)].fetch_sub(amount);
  if (total_ != nullptr) total_->Give(kind, amount);
}

StatusOr<TenantAccount::Share> TenantAccount::TakeShare(
    const std::shared_ptr<TenantAccount>& account, QuotaKind kind, uint64_t amount) {
  ALAYA_RETURN_IF_ERROR(account->Take(kind, amount));
  return Share(account, kind, amount);
}

TenantAccount::Share TenantAccount::TakeShareAnyway(const std::shared_ptr<TenantAccount>& account,
                                                    QuotaKind kind, uint64_t amount) {
  for (TenantAccount* each = account.get(); each != nullptr; each = each->total_.get()) {
    each->used_[static_cast<size_t>(kind)].fetch_add(amount);
  }
  return Share(account, kind, amount);
}

StatusOr<TenantAccount::Share> TenantAccount::TakeStorage(
    const std::shared_ptr<TenantAccount>& account, uint64_t stored_bytes, uint64_t amount) {
  ALAYA_RETURN_IF_ERROR(account->TakeBeside(QuotaKind::kWritingBytes, amount, stored_bytes));
  return Share(account, QuotaKind::kWritingBytes, amount);
}

Status TenantAccount::Refuse(QuotaKind kind, uint64_t used, uint64_t amount) {
  refused_count_.fetch_add(1, std::memory_order_relaxed);
  const KindText& text = TextOf(kind);
  return QuotaError({.subject = subject(),
                     .description = std::to_string(used) + " " + text.noun + " and " +
                                    std::to_string(amount) + " more: " + text.limit + " is " +
                                    std::to_string(limit(kind)),
                     .retry_after = text.retry_after});
}

Status TenantAccount::CountRequest(steady_clock::time_point now) {
  request_count_.fetch_add(1, std::memory_order_relaxed);
  ALAYA_RETURN_IF_ERROR(CheckRate(now));
  if (total_ == nullptr) return OkStatus();
  Status status = total_->CountRequest(now);
  if (!status.ok()) UndoRate();
  return status;
}

// A leaky bucket that holds the requests of a second.
Status TenantAccount::CheckRate(steady_clock::time_point now) {
  const uint64_t rate = requests_per_second_.load(std::memory_order_relaxed);
  if (rate == 0) return OkStatus();
  constexpr nanoseconds kBurst = std::chrono::seconds(1);
  const nanoseconds interval = kBurst / static_cast<int64_t>(rate);
  milliseconds retry_after{};
  {
    const std::lock_guard lock(rate_mutex_);
    due_ = std::max(due_, now) + interval;
    if (due_ - now <= kBurst) return OkStatus();
    retry_after = std::chrono::ceil<milliseconds>(due_ - now - kBurst);
    due_ -= interval;
  }
  refused_count_.fetch_add(1, std::memory_order_relaxed);
  return QuotaError({.subject = subject(),
                     .description = "max_requests_per_second is " + std::to_string(rate),
                     .retry_after = retry_after});
}

// Takes back what the last CheckRate counted.
void TenantAccount::UndoRate() {
  const uint64_t rate = requests_per_second_.load(std::memory_order_relaxed);
  if (rate == 0) return;
  const std::lock_guard lock(rate_mutex_);
  due_ -= nanoseconds(std::chrono::seconds(1)) / static_cast<int64_t>(rate);
}

void TenantQuota::SetLimits(TenantLimitsTable limits) {
  const std::lock_guard lock(mutex_);
  limits_ = std::move(limits);
  total_->SetLimits(limits_.all);
  for (const auto& [tenant, account] : accounts_) account->SetLimits(limits_.Of(tenant));
}

std::shared_ptr<TenantAccount> TenantQuota::AccountOf(std::string_view tenant) {
  const std::lock_guard lock(mutex_);
  const auto found = accounts_.find(tenant);
  if (found != accounts_.end()) return found->second;
  std::string name(tenant);
  auto account = std::make_shared<TenantAccount>(name, limits_.Of(tenant), total_);
  return accounts_.emplace(std::move(name), std::move(account)).first->second;
}

TenantLimits TenantQuota::LimitsOf(std::string_view tenant) const {
  const std::lock_guard lock(mutex_);
  return limits_.Of(tenant);
}

TenantLimits TenantQuota::TotalLimits() const {
  const std::lock_guard lock(mutex_);
  return limits_.all;
}

uint64_t TenantQuota::AheadOf(const TenantAccount& account, QuotaKind kind) const {
  const uint64_t own = account.used(kind);
  const std::lock_guard lock(mutex_);
  uint64_t ahead = own;
  for (const auto& [tenant, other] : accounts_) {
    if (other.get() != &account) ahead += std::min(other->used(kind), own + 1);
  }
  return ahead;
}

std::vector<std::shared_ptr<TenantAccount>> TenantQuota::accounts() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<TenantAccount>> accounts;
  accounts.reserve(accounts_.size());
  for (const auto& [tenant, account] : accounts_) accounts.push_back(account);
  return accounts;
}

}  // namespace alaya
