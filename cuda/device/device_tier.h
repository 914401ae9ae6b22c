// Which indexes lie on a device: those that queries want most, within the budget of a
// memory pool.
//
// Every use of an index heats it by one, and all heat halves over kHalfLifeUses uses of
// the tier. An index comes in when it is clearly hotter than all together that have to
// go for it; one that is being searched never goes. Coming in is slow and happens in the
// background (Promote); a query that finds its index absent works on the CPU.
//
// A device that fails once is given up: nothing is resident from then on, and queries
// go on as if there had never been a device.
//
// Knows no device: an IndexLoader does the work, in tests a fake one.

#ifndef ALAYA_CUDA_DEVICE_DEVICE_TIER_H_
#define ALAYA_CUDA_DEVICE_DEVICE_TIER_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "cuda/device/memory_pool.h"
#include "storage/types/status.h"

namespace alaya {

// The indexes of all heads of one layer of one segment come and go together.
struct TierKey {
  uint64_t segment = 0;
  uint32_t layer = 0;
  uint32_t form = 0;  // a part may have several kinds of index

  friend auto operator<=>(const TierKey&, const TierKey&) = default;
};

class IndexLoader {
 public:
  virtual ~IndexLoader() = default;

  // Makes the index of `key` in `block`, and returns when it is complete.
  //
  // Errors: Unavailable if the device failed; any other concerns this index alone.
  virtual Status Load(TierKey key, const PoolBlock& block) = 0;
};

// An index on the device; it stays while anybody holds it.
struct ResidentIndex {
  TierKey key;
  PoolBlock block;
};

// Threads: any at a time, for all methods.
class DeviceTier {
 public:
  static constexpr double kHalfLifeUses = 4096;
  // What must be exceeded by an index that comes in, over those that go.
  static constexpr double kHeatFactor = 1.25;

  struct Stats {
    MemoryPool::Stats memory;
    uint64_t resident_count = 0;
    uint64_t hit_count = 0;  // uses that found their index
    uint64_t miss_count = 0;
    uint64_t promotion_count = 0;
    uint64_t demotion_count = 0;
    uint64_t refused_count = 0;  // indexes that their loader could not make
    Status device_status;        // why the device was given up, or OK
  };

  // Both must outlive the tier and what it gave out.
  DeviceTier(MemoryPool* pool, IndexLoader* loader) : pool_(*pool), loader_(*loader) {}
  DeviceTier(const DeviceTier&) = delete;
  DeviceTier& operator=(const DeviceTier&) = delete;

  // Counts a use of an index that takes `bytes` on the device. Null: it is not there.
  std::shared_ptr<const ResidentIndex> Use(TierKey key, uint64_t bytes);

  // Brings in the hottest index that gets room, if any; true if one came. One call at a
  // time loads; others return false meanwhile.
  bool Promote();

  // The segment is gone, or its indexes are others now. Indexes in use stay in memory
  // until their users leave.
  void Forget(uint64_t segment);

  // The device failed in a query's hands.
  void GiveUp(const Status& status);

  Stats stats() const;

 private:
  struct Entry {
    uint64_t bytes = 0;
    double heat = 0;  // at use number `heat_time`
    uint64_t heat_time = 0;
    bool is_refused = false;
    std::shared_ptr<const ResidentIndex> index;  // null: not resident
  };
  using Entries = std::map<TierKey, Entry>;

  // All with mutex_ held.
  double HeatOf(const Entry& entry) const;
  // The hottest index that gets room, and its room. Null without one.
  std::shared_ptr<ResidentIndex> Choose();
  // Allocates for an index, at the expense of colder ones where it deserves that.
  std::optional<PoolBlock> MakeRoom(const Entry& wanted);
  // Of those that are wanted, or of those that are resident and not in use.
  std::vector<Entries::iterator> ColdestFirst(bool is_resident);
  void GiveUpLocked(const Status& status);

  MemoryPool& pool_;
  IndexLoader& loader_;

  mutable std::mutex mutex_;
  Entries entries_;
  uint64_t now_ = 0;  // uses so far
  bool is_loading_ = false;
  Stats stats_;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_DEVICE_TIER_H_
