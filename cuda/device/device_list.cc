#include "cuda/device/device_list.h"

#include <cuda_runtime_api.h>

namespace alaya {
namespace {

Status ToStatus(cudaError_t error, const std::string& what) {
  return Unavailable(what + ": " + cudaGetErrorString(error));
}

}  // namespace

StatusOr<std::vector<CudaDevice>> ListCudaDevices() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorNoDevice || counted == cudaErrorInsufficientDriver) {
    return std::vector<CudaDevice>{};
  }
  if (counted != cudaSuccess) return ToStatus(counted, "counting CUDA devices");

  std::vector<CudaDevice> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties{};
    if (const cudaError_t read = cudaGetDeviceProperties(&properties, ordinal);
        read != cudaSuccess) {
      return ToStatus(read, "reading CUDA device " + std::to_string(ordinal));
    }
    devices.push_back({.ordinal = ordinal,
                       .description = std::string(properties.name) + ", sm_" +
                                      std::to_string(properties.major) +
                                      std::to_string(properties.minor),
                       .memory_bytes = properties.totalGlobalMem});
  }
  return devices;
}

}  // namespace alaya
