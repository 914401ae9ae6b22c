// Keeps what is stored below a mark: above it writes stop, or contexts are evicted first.
// Reads always go on.

#ifndef ALAYA_STORAGE_CONTEXT_DISK_QUOTA_H_
#define ALAYA_STORAGE_CONTEXT_DISK_QUOTA_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "storage/types/status.h"

namespace alaya {

struct DiskQuotaOptions {
  // Bytes of segments and indexes at which writes stop; 0: no quota.
  uint64_t high_water_bytes = 0;
  // Whether contexts are deleted, those unused for longest first and never pinned ones,
  // until at most low_water_bytes are stored, before a write is refused.
  bool evicts = false;
  uint64_t low_water_bytes = 0;  // 0: nine tenths of the high water mark
  // Only contexts that carry this label are evicted; empty name: all that are not pinned.
  std::pair<std::string, std::string> evict_label = {};

  uint64_t low_water() const {
    return low_water_bytes > 0 ? low_water_bytes : high_water_bytes / 10 * 9;
  }
};

// Threads: any.
class DiskQuota {
 public:
  // `stored_bytes` says what the files take; `evict` deletes contexts and returns when
  // their space is free. Both are called by Check.
  DiskQuota(DiskQuotaOptions options, std::function<uint64_t()> stored_bytes,
            std::function<void()> evict);

  // Errors: ResourceExhausted, naming what is stored and the mark.
  Status Check();

  // True if so many bytes more would stay below the mark. Evicts nothing.
  bool HasRoomFor(uint64_t bytes) const {
    return options_.high_water_bytes == 0 || UsedBytes() + bytes < options_.high_water_bytes;
  }

  // Bytes that writers have on disk and that are not stored yet.
  void AddWriting(uint64_t bytes) { writing_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void RemoveWriting(uint64_t bytes) { writing_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  uint64_t UsedBytes() const {
    return stored_bytes_() + writing_bytes_.load(std::memory_order_relaxed);
  }

  const DiskQuotaOptions options_;
  const std::function<uint64_t()> stored_bytes_;
  const std::function<void()> evict_;
  std::atomic<uint64_t> writing_bytes_{0};
  std::mutex evict_mutex_;  // one eviction at a time
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_DISK_QUOTA_H_
