// The nearest keys of sampled queries by a device, for the build of fine indexes: the keys of
// a head go there in runs, then the queries in batches.

#ifndef ALAYA_CUDA_BACKEND_DEVICE_NEAREST_KEYS_H_
#define ALAYA_CUDA_BACKEND_DEVICE_NEAREST_KEYS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "cuda/device/device.h"
#include "cuda/device/memory_pool.h"
#include "index/graph/nearest_key_finder.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any; one head at a time is on the device.
class DeviceNearestKeys : public NearestKeyFinder {
 public:
  // Each is called at most once, from any thread; may be null.
  struct Callbacks {
    std::function<void(const Status&)> on_lost;   // the device failed
    std::function<void(const Status&)> on_wrong;  // what it found was wrong
  };
  struct Stats {
    uint64_t found_count = 0;  // heads
    uint64_t left_count = 0;   // heads that somebody else had to do
  };

  // Takes `workspace_bytes` of the pool: more keys than have room there are left to others.
  // Device and pool must outlive this.
  //
  // Errors: ResourceExhausted if the pool has no room; what the device returns.
  static StatusOr<std::unique_ptr<DeviceNearestKeys>> Create(Device* device, MemoryPool* pool,
                                                             uint64_t workspace_bytes,
                                                             Callbacks callbacks);

  StatusOr<bool> Find(const NearestKeyQuery& query, MatrixView<uint32_t> lists) override;
  void GiveUp(const Status& why) override;

  Stats stats() const;

 private:
  // Rows and queries that are within the device's reach at a time.
  static constexpr size_t kStagingBytes = 2 << 20;
  static constexpr uint32_t kBatchQueriesMax = 512;

  // How a head lies in the workspace.
  struct Layout;

  DeviceNearestKeys(Device* device, Callbacks callbacks)
      : device_(*device), callbacks_(std::move(callbacks)) {}

  // Errors of the reader and Cancelled go to the caller; those of the device into `lost`.
  Status FindOnDevice(const NearestKeyQuery& query, const Layout& layout,
                      MatrixView<uint32_t> lists, Status* lost);
  Status LoadKeys(const NearestKeyQuery& query, const Layout& layout, Status* lost);
  Status FindBatch(const Layout& layout, MatrixView<const float> queries,
                   MatrixView<uint32_t> lists);

  Device& device_;
  const Callbacks callbacks_;
  std::atomic<bool> is_off_{false};
  std::atomic<uint64_t> found_count_{0};
  std::atomic<uint64_t> left_count_{0};

  std::mutex mutex_;  // held while a head is on the device
  std::unique_ptr<DeviceQueue> queue_;
  std::unique_ptr<PinnedBuffer> staging_;
  PoolBlock workspace_;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_DEVICE_NEAREST_KEYS_H_
