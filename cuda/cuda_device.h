// A CUDA device behind the interface that the backend uses.

#ifndef ALAYA_CUDA_CUDA_DEVICE_H_
#define ALAYA_CUDA_CUDA_DEVICE_H_

#include <cstdint>
#include <memory>

#include "cuda/device/device.h"
#include "storage/types/status.h"

namespace alaya {

// Reserves `budget_bytes` of the device's memory.
//
// Errors: Unavailable if this machine has no such device or its driver does not work;
//   ResourceExhausted if the device has not so much left.
StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int ordinal, uint64_t budget_bytes);

}  // namespace alaya

#endif  // ALAYA_CUDA_CUDA_DEVICE_H_
