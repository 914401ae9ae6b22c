// The runtime's errors as Status.

#ifndef ALAYA_CUDA_DEVICE_CUDA_STATUS_H_
#define ALAYA_CUDA_DEVICE_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "storage/types/status.h"

namespace alaya {

// ResourceExhausted for memory; Unavailable for all else: the device is lost, or what it
// ran failed, and whoever asked goes on without it.
inline Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return OkStatus();
  const std::string message = std::string(what) + ": " + cudaGetErrorString(error);
  return error == cudaErrorMemoryAllocation ? ResourceExhausted(message) : Unavailable(message);
}

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_CUDA_STATUS_H_
