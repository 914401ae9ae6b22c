// What sequences cost on a device, measured when its backend opens.

#ifndef ALAYA_CUDA_BACKEND_DEVICE_COSTS_H_
#define ALAYA_CUDA_BACKEND_DEVICE_COSTS_H_

#include <cstdint>

#include "cuda/backend/batch_lane.h"
#include "cuda/device/device.h"
#include "cuda/device/memory_pool.h"
#include "storage/types/status.h"

namespace alaya {

struct DeviceCosts {
  double call_us = 0;       // an answer, however few tokens
  double ns_per_token = 0;  // of a task's head, for all of its queries
};

// Answers made-up requests, `token_count` tokens of several heads and next to none, on an
// idle lane. What it takes of the pool it gives back.
//
// Errors: ResourceExhausted if the pool has no room for that; Unavailable.
StatusOr<DeviceCosts> MeasureDeviceCosts(Device* device, MemoryPool* pool, BatchLane* lane,
                                         uint32_t token_count);

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_DEVICE_COSTS_H_
