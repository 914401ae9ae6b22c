// What each tenant takes now, against its limits and those of all together.
//
// A share that was taken is given back when its object goes, so that nothing stays
// counted after the session, call or message that it stood for.

#ifndef ALAYA_SERVER_ENGINE_TENANT_QUOTA_H_
#define ALAYA_SERVER_ENGINE_TENANT_QUOTA_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/engine/tenant_limits.h"
#include "storage/types/status.h"

namespace alaya {

// What is counted and given back.
enum class QuotaKind : uint8_t {
  kSessions,
  kTailBytes,
  kWritingBytes,
  kStreams,
  kAttendItems,
  kBytesInFlight
};
inline constexpr size_t kQuotaKindCount = 6;

// One tenant's account, or that of all together. Threads: any.
class TenantAccount {
 public:
  // An amount that is taken; gives it back when it goes. Move-only.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      std::swap(account_, other.account_);
      std::swap(kind_, other.kind_);
      std::swap(amount_, other.amount_);
      return *this;
    }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() { Release(); }

    void Release() {
      if (account_ != nullptr) account_->Give(kind_, amount_);
      account_.reset();
    }

   private:
    friend class TenantAccount;
    Share(std::shared_ptr<TenantAccount> account, QuotaKind kind, uint64_t amount)
        : account_(std::move(account)), kind_(kind), amount_(amount) {}

    std::shared_ptr<TenantAccount> account_;
    QuotaKind kind_ = QuotaKind::kSessions;
    uint64_t amount_ = 0;
  };

  // What is taken counts in `total`, too; null: this is the total.
  TenantAccount(std::string tenant, const TenantLimits& limits,
                std::shared_ptr<TenantAccount> total = nullptr);

  const std::string& tenant() const { return tenant_; }
  void SetLimits(const TenantLimits& limits);

  // Errors: ResourceExhausted with QuotaViolation; nothing is taken then.
  Status Take(QuotaKind kind, uint64_t amount);
  void Give(QuotaKind kind, uint64_t amount);
  static StatusOr<Share> TakeShare(const std::shared_ptr<TenantAccount>& account, QuotaKind kind,
                                   uint64_t amount);
  // For what is there already and bounded by other means.
  static Share TakeShareAnyway(const std::shared_ptr<TenantAccount>& account, QuotaKind kind,
                               uint64_t amount);
  // Like kWritingBytes, which count against what may be stored beside what is.
  static StatusOr<Share> TakeStorage(const std::shared_ptr<TenantAccount>& account,
                                     uint64_t stored_bytes, uint64_t amount);

  // Counts one request against the rate.
  // Errors: ResourceExhausted with the time after which one more is allowed.
  Status CountRequest(std::chrono::steady_clock::time_point now);

  uint64_t used(QuotaKind kind) const { return used_[static_cast<size_t>(kind)].load(); }
  uint64_t refused_count() const { return refused_count_.load(std::memory_order_relaxed); }
  uint64_t request_count() const { return request_count_.load(std::memory_order_relaxed); }
  bool limits_storage() const { return limit(QuotaKind::kWritingBytes) > 0; }

 private:
  uint64_t limit(QuotaKind kind) const { return limits_[static_cast<size_t>(kind)].load(); }
  std::string subject() const { return total_ == nullptr ? tenant_ : "tenant:" + tenant_; }
  Status Refuse(QuotaKind kind, uint64_t used, uint64_t amount);
  Status TakeBeside(QuotaKind kind, uint64_t amount, uint64_t beside);
  Status CheckRate(std::chrono::steady_clock::time_point now);
  void UndoRate();

  const std::string tenant_;
  const std::shared_ptr<TenantAccount> total_;
  std::array<std::atomic<uint64_t>, kQuotaKindCount> limits_{};  // 0: none
  std::array<std::atomic<uint64_t>, kQuotaKindCount> used_{};
  std::atomic<uint64_t> refused_count_{0};
  std::atomic<uint64_t> request_count_{0};

  std::atomic<uint64_t> requests_per_second_{0};  // 0: no limit
  std::mutex rate_mutex_;
  // When all requests so far would have been due, had they come evenly.
  std::chrono::steady_clock::time_point due_;
};

// Threads: any. Accounts stay for the life of the book: tenants are those of the key files.
class TenantQuota {
 public:
  // Whom errors about the limits of all together name.
  static constexpr char kTotalSubject[] = "server";

  explicit TenantQuota(TenantLimitsTable limits)
      : limits_(std::move(limits)),
        total_(std::make_shared<TenantAccount>(kTotalSubject, limits_.all)) {}

  // Takes effect at the next request; what was taken stays taken.
  void SetLimits(TenantLimitsTable limits);

  std::shared_ptr<TenantAccount> AccountOf(std::string_view tenant);
  // What is allowed now, to the tenant and to all together.
  TenantLimits LimitsOf(std::string_view tenant) const;
  TenantLimits TotalLimits() const;
  // Of all tenants together.
  const TenantAccount& total() const { return *total_; }
  // How much of what is taken comes before one more of the tenant's if all have the same
  // share of the time: its own, and as much of every other tenant.
  uint64_t AheadOf(const TenantAccount& account, QuotaKind kind) const;
  // By name.
  std::vector<std::shared_ptr<TenantAccount>> accounts() const;

 private:
  mutable std::mutex mutex_;
  TenantLimitsTable limits_;  // guarded by mutex_
  const std::shared_ptr<TenantAccount> total_;
  std::map<std::string, std::shared_ptr<TenantAccount>, std::less<>> accounts_;  // as well
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TENANT_QUOTA_H_
