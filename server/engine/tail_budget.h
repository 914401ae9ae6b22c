// The memory that all sessions' tails may hold together.

#ifndef ALAYA_SERVER_ENGINE_TAIL_BUDGET_H_
#define ALAYA_SERVER_ENGINE_TAIL_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace alaya {

// Threads: any.
class TailBudget {
 public:
  explicit TailBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  bool TryReserve(uint64_t bytes) {
    uint64_t used = used_bytes_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_bytes_ || used > limit_bytes_ - bytes) return false;
    } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void Release(uint64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  uint64_t limit_bytes() const { return limit_bytes_; }

 private:
  const uint64_t limit_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TAIL_BUDGET_H_
