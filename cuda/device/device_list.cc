#include "cuda/device/device_list.h"

#include <cuda_runtime_api.h>

#include "cuda/device/cuda_status.h"

namespace alaya {

StatusOr<std::vector<CudaDevice>> ListCudaDevices() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorNoDevice || counted == cudaErrorInsufficientDriver) {
    return std::vector<CudaDevice>{};
  }
  ALAYA_RETURN_IF_ERROR(CudaStatus(counted, "counting CUDA devices"));

  std::vector<CudaDevice> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties{};
    ALAYA_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, ordinal),
                                     "reading CUDA device " + std::to_string(ordinal)));
    devices.push_back({.ordinal = ordinal,
                       .description = std::string(properties.name) + ", sm_" +
                                      std::to_string(properties.major) +
                                      std::to_string(properties.minor),
                       .memory_bytes = properties.totalGlobalMem});
  }
  return devices;
}

}  // namespace alaya
