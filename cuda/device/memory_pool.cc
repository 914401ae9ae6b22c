#include "cuda/device/memory_pool.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "storage/types/check.h"

namespace alaya {

PoolBlock& PoolBlock::operator=(PoolBlock&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  pool_ = std::exchange(other.pool_, nullptr);
  offset_ = std::exchange(other.offset_, 0);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void PoolBlock::Reset() {
  if (pool_ != nullptr) pool_->Free(offset_, bytes_);
  pool_ = nullptr;
  offset_ = bytes_ = 0;
}

MemoryPool::MemoryPool(uint64_t budget_bytes)
    : budget_bytes_(budget_bytes / kAlignment * kAlignment) {
  if (budget_bytes_ > 0) free_.emplace(0, budget_bytes_);
}

MemoryPool::~MemoryPool() { ALAYA_CHECK(used_bytes_ == 0); }

StatusOr<PoolBlock> MemoryPool::Allocate(uint64_t bytes) {
  if (bytes == 0) return InvalidArgument("an allocation of 0 bytes");
  const std::lock_guard lock(mutex_);
  auto best = free_.end();
  // Compared before rounding up, which might overflow.
  for (auto range = free_.begin(); range != free_.end(); ++range) {
    const bool is_better = best == free_.end() || range->second < best->second;
    if (range->second >= bytes && is_better) best = range;
  }
  if (best == free_.end()) {
    const Stats now = StatsLocked();
    return ResourceExhausted("device memory: " + std::to_string(bytes) + " bytes wanted, " +
                             std::to_string(now.budget_bytes - now.used_bytes) + " of " +
                             std::to_string(now.budget_bytes) + " free, at most " +
                             std::to_string(now.largest_free_bytes) + " in one piece");
  }
  const uint64_t taken = RoundUp(bytes);
  const uint64_t offset = best->first;
  const uint64_t left = best->second - taken;
  free_.erase(best);
  if (left > 0) free_.emplace(offset + taken, left);
  used_bytes_ += taken;
  return PoolBlock(this, offset, taken);
}

void MemoryPool::Free(uint64_t offset, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  used_bytes_ -= bytes;
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + bytes) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_.emplace(offset, bytes);
}

MemoryPool::Stats MemoryPool::stats() const {
  const std::lock_guard lock(mutex_);
  return StatsLocked();
}

MemoryPool::Stats MemoryPool::StatsLocked() const {
  Stats stats{budget_bytes_, used_bytes_, 0};
  for (const auto& [offset, bytes] : free_) {
    stats.largest_free_bytes = std::max(stats.largest_free_bytes, bytes);
  }
  return stats;
}

}  // namespace alaya
