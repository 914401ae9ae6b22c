// The CUDA devices of this machine.

#ifndef ALAYA_CUDA_DEVICE_DEVICE_LIST_H_
#define ALAYA_CUDA_DEVICE_DEVICE_LIST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "storage/types/status.h"

namespace alaya {

struct CudaDevice {
  int ordinal = 0;
  std::string description;  // for example "NVIDIA H200, sm_90"
  uint64_t memory_bytes = 0;
};

// Empty where the machine has none.
//
// Errors: Unavailable if there is a driver that does not work, with its reason.
StatusOr<std::vector<CudaDevice>> ListCudaDevices();

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_DEVICE_LIST_H_
