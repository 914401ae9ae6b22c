// What sequences cost on a device, measured when its backend opens.

#ifndef ALAYA_CUDA_BACKEND_DEVICE_COSTS_H_
#define ALAYA_CUDA_BACKEND_DEVICE_COSTS_H_

#include <cstdint>

#include "cuda/backend/batch_lane.h"
#include "cuda/backend/stretch_lane.h"
#include "cuda/device/device.h"
#include "cuda/device/memory_pool.h"
#include "storage/types/status.h"

namespace alaya {

struct DeviceCosts {
  double call_us = 0;         // an answer, however few tokens
  double ns_per_token = 0;    // of a task's head, for all of its queries
  double ns_per_row = 0;      // of a task's window, the same
  double coarse_call_us = 0;  // bounds of a coarse index, however few stretches
  double ns_per_stretch = 0;  // and query
};

// What is measured.
struct DeviceLanes {
  Device* device = nullptr;
  MemoryPool* pool = nullptr;
  BatchLane* lane = nullptr;
  StretchLane* stretch_lane = nullptr;
};

// Answers made-up requests, `token_count` tokens of several heads and next to none, on an
// idle lanes. What it takes of the pool it gives back.
//
// Errors: ResourceExhausted if the pool has no room for that; Unavailable.
StatusOr<DeviceCosts> MeasureDeviceCosts(const DeviceLanes& lanes, uint32_t token_count);

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_DEVICE_COSTS_H_
