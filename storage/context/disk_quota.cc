#include "storage/context/disk_quota.h"

namespace alaya {

DiskQuota::DiskQuota(DiskQuotaOptions options, std::function<uint64_t()> stored_bytes,
                     std::function<void()> evict)
    : options_(std::move(options)),
      stored_bytes_(std::move(stored_bytes)),
      evict_(std::move(evict)) {}

Status DiskQuota::Check() {
  if (options_.high_water_bytes == 0 || UsedBytes() < options_.high_water_bytes) return OkStatus();
  if (options_.evicts) {
    const std::lock_guard lock(evict_mutex_);
    if (UsedBytes() >= options_.high_water_bytes) evict_();
  }
  const uint64_t used_bytes = UsedBytes();
  if (used_bytes < options_.high_water_bytes) return OkStatus();
  return ResourceExhausted("contexts take " + std::to_string(used_bytes) +
                           " bytes on disk, disk_high_water is " +
                           std::to_string(options_.high_water_bytes) +
                           (options_.evicts ? ", and eviction has freed no more" : ""));
}

}  // namespace alaya
