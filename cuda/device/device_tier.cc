#include "cuda/device/device_tier.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace alaya {

std::shared_ptr<const ResidentIndex> DeviceTier::Use(TierKey key, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!stats_.device_status.ok()) return nullptr;
  ++now_;
  Entry& entry = entries_[key];
  entry.heat = HeatOf(entry) + 1;
  entry.heat_time = now_;
  entry.bytes = bytes;
  ++(entry.index != nullptr ? stats_.hit_count : stats_.miss_count);
  return entry.index;
}

bool DeviceTier::Promote() {
  std::shared_ptr<ResidentIndex> index;
  {
    const std::lock_guard lock(mutex_);
    if (is_loading_ || !stats_.device_status.ok()) return false;
    index = Choose();
    if (index == nullptr) return false;
    is_loading_ = true;
  }
  const Status loaded = loader_.Load(index->key, index->block);

  const std::lock_guard lock(mutex_);
  is_loading_ = false;
  if (loaded.code() == StatusCode::kUnavailable) GiveUpLocked(loaded);
  if (!stats_.device_status.ok()) return false;
  const auto entry = entries_.find(index->key);
  if (entry == entries_.end()) return false;  // forgotten meanwhile
  if (!loaded.ok()) {
    entry->second.is_refused = true;
    ++stats_.refused_count;
    return false;
  }
  entry->second.index = std::move(index);
  ++stats_.promotion_count;
  return true;
}

void DeviceTier::Forget(uint64_t segment) {
  const std::lock_guard lock(mutex_);
  entries_.erase(entries_.lower_bound({segment, 0}),
                 entries_.upper_bound({segment, std::numeric_limits<uint32_t>::max()}));
}

void DeviceTier::GiveUp(const Status& status) {
  const std::lock_guard lock(mutex_);
  GiveUpLocked(status);
}

void DeviceTier::GiveUpLocked(const Status& status) {
  if (stats_.device_status.ok()) stats_.device_status = status;
  entries_.clear();
}

DeviceTier::Stats DeviceTier::stats() const {
  const std::lock_guard lock(mutex_);
  Stats stats = stats_;
  stats.memory = pool_.stats();
  for (const auto& [key, entry] : entries_) {
    if (entry.index != nullptr) ++stats.resident_count;
  }
  return stats;
}

double DeviceTier::HeatOf(const Entry& entry) const {
  const auto age = static_cast<double>(now_ - entry.heat_time);
  return entry.heat * std::exp2(-age / kHalfLifeUses);
}

std::vector<DeviceTier::Entries::iterator> DeviceTier::ColdestFirst(bool is_resident) {
  std::vector<Entries::iterator> found;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const auto& index = entry->second.index;
    // If only the tier holds it, a new holder would have to come through Use.
    const bool is_idle = index.use_count() == 1;
    const bool is_wanted = index == nullptr && !entry->second.is_refused;
    if (is_resident ? is_idle : is_wanted) found.push_back(entry);
  }
  std::ranges::sort(found, {}, [&](const auto& entry) { return HeatOf(entry->second); });
  return found;
}

std::shared_ptr<ResidentIndex> DeviceTier::Choose() {
  const std::vector<Entries::iterator> wanted = ColdestFirst(/*is_resident=*/false);
  for (auto entry = wanted.rbegin(); entry != wanted.rend(); ++entry) {
    std::optional<PoolBlock> block = MakeRoom((*entry)->second);
    if (!block.has_value()) continue;
    return std::make_shared<ResidentIndex>(ResidentIndex{(*entry)->first, *std::move(block)});
  }
  return nullptr;
}

std::optional<PoolBlock> DeviceTier::MakeRoom(const Entry& wanted) {
  StatusOr<PoolBlock> block = pool_.Allocate(wanted.bytes);
  if (block.ok()) return *std::move(block);
  // First see whether it is worth it, so that nothing goes in vain.
  const MemoryPool::Stats memory = pool_.stats();
  const std::vector<Entries::iterator> coldest = ColdestFirst(/*is_resident=*/true);
  uint64_t free_bytes = memory.budget_bytes - memory.used_bytes;
  double heat = 0;
  size_t count = 0;
  while (count < coldest.size() && free_bytes < wanted.bytes) {
    free_bytes += coldest[count]->second.index->block.bytes();
    heat += HeatOf(coldest[count++]->second);
  }
  if (free_bytes < wanted.bytes) return std::nullopt;
  // What is free may lie in pieces: then more have to go.
  for (size_t i = 0; i < coldest.size(); ++i) {
    if (i >= count) heat += HeatOf(coldest[i]->second);
    if (HeatOf(wanted) <= kHeatFactor * heat) return std::nullopt;
    coldest[i]->second.index.reset();
    ++stats_.demotion_count;
    block = pool_.Allocate(wanted.bytes);
    if (block.ok()) return *std::move(block);
  }
  return std::nullopt;
}

}  // namespace alaya
