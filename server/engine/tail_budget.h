// The memory that sessions' tails may hold: all together, and those of one tenant.

#ifndef ALAYA_SERVER_ENGINE_TAIL_BUDGET_H_
#define ALAYA_SERVER_ENGINE_TAIL_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "server/engine/tenant_quota.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any.
class TailBudget {
 public:
  explicit TailBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  // One tenant's part of `total`, which must outlive it.
  TailBudget(TailBudget* total, std::shared_ptr<TenantAccount> account)
      : limit_bytes_(total->limit_bytes_), total_(total), account_(std::move(account)) {}

  // Errors: ResourceExhausted, naming the limit; nothing is reserved then.
  Status Reserve(uint64_t bytes);
  void Release(uint64_t bytes);

  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  const uint64_t limit_bytes_;
  TailBudget* const total_ = nullptr;
  const std::shared_ptr<TenantAccount> account_;  // null without total_
  std::atomic<uint64_t> used_bytes_{0};
};

// The budgets of all tenants. Threads: any.
class TailBudgets {
 public:
  explicit TailBudgets(uint64_t limit_bytes) : total_(limit_bytes) {}

  // Lives as long as this object.
  TailBudget* Of(const std::shared_ptr<TenantAccount>& account);
  const TailBudget& total() const { return total_; }

 private:
  TailBudget total_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<TailBudget>> parts_;  // by tenant; guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TAIL_BUDGET_H_
