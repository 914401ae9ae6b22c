// Parts of one reservation of device memory, with a hard budget: what does not fit is
// refused, never taken from elsewhere.
//
// The pool hands out offsets and never touches the memory, so it knows no device. Free
// ranges are kept whole: neighbours that are given back become one. Allocation takes the
// smallest range that is large enough.

#ifndef ALAYA_CUDA_DEVICE_MEMORY_POOL_H_
#define ALAYA_CUDA_DEVICE_MEMORY_POOL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#include "storage/types/status.h"

namespace alaya {

class MemoryPool;

// A part of a pool, given back when it goes. The pool must outlive it.
class PoolBlock {
 public:
  PoolBlock() = default;
  PoolBlock(PoolBlock&& other) noexcept { *this = std::move(other); }
  PoolBlock& operator=(PoolBlock&& other) noexcept;
  ~PoolBlock() { Reset(); }

  uint64_t offset() const { return offset_; }
  uint64_t bytes() const { return bytes_; }  // 0: nothing
  void Reset();

 private:
  friend class MemoryPool;
  PoolBlock(MemoryPool* pool, uint64_t offset, uint64_t bytes)
      : pool_(pool), offset_(offset), bytes_(bytes) {}

  MemoryPool* pool_ = nullptr;
  uint64_t offset_ = 0;
  uint64_t bytes_ = 0;
};

// Threads: any at a time.
class MemoryPool {
 public:
  static constexpr uint64_t kAlignment = 256;
  // What `bytes` take of a pool.
  static constexpr uint64_t RoundUp(uint64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  struct Stats {
    uint64_t budget_bytes = 0;
    uint64_t used_bytes = 0;
    uint64_t largest_free_bytes = 0;
  };

  // Uses `budget_bytes`, rounded down to the alignment, from offset 0.
  explicit MemoryPool(uint64_t budget_bytes);
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;
  ~MemoryPool();

  // At least `bytes`, from an aligned offset on.
  //
  // Errors: ResourceExhausted, with what is free; InvalidArgument if bytes is 0.
  StatusOr<PoolBlock> Allocate(uint64_t bytes);

  Stats stats() const;

 private:
  friend class PoolBlock;
  void Free(uint64_t offset, uint64_t bytes);
  Stats StatsLocked() const;

  const uint64_t budget_bytes_;

  mutable std::mutex mutex_;
  uint64_t used_bytes_ = 0;
  std::map<uint64_t, uint64_t> free_;  // bytes by offset; no two touch
};

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_MEMORY_POOL_H_
