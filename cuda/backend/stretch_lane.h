// The way of coarse queries to a device: weights go there, sums come back.

#ifndef ALAYA_CUDA_BACKEND_STRETCH_LANE_H_
#define ALAYA_CUDA_BACKEND_STRETCH_LANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "cuda/device/device.h"
#include "cuda/device/memory_pool.h"
#include "cuda/kernels/stretch_scores.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any; one task at a time is on the device.
class StretchLane {
 public:
  // Takes `workspace_bytes` of the pool. Both must outlive the lane.
  //
  // Errors: ResourceExhausted if the pool has no room; what the device returns.
  static StatusOr<std::unique_ptr<StretchLane>> Create(Device* device, MemoryPool* pool,
                                                       uint64_t workspace_bytes);

  // Is there room for the task's weights and sums?
  bool Fits(const StretchTask& task) const;

  // Waits. The task names rows and counts; weights and sums are the host's.
  //
  // Shapes: weights [head_count, query_count, row_bytes], sums [head_count, query_count,
  //   stretch_count].
  // Requires: it fits.
  // Errors: Unavailable: the device failed.
  Status Score(StretchTask task, std::span<const float> weights, std::span<float> sums);

 private:
  explicit StretchLane(Device* device) : device_(*device) {}

  static size_t WeightBytes(const StretchTask& task);
  static size_t SumBytes(const StretchTask& task);

  Device& device_;
  std::mutex mutex_;  // held while a task is on the device
  std::unique_ptr<DeviceQueue> queue_;
  std::unique_ptr<PinnedBuffer> host_;  // weights, then sums, as in the workspace
  PoolBlock workspace_;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_STRETCH_LANE_H_
