#include "cuda/device/cuda_memory.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/device/cuda_status.h"

namespace alaya {

// A lost device frees nothing, and there is nobody to tell.
void DeviceMemory::Release::operator()(std::byte* memory) const { cudaFree(memory); }

StatusOr<std::unique_ptr<DeviceMemory>> DeviceMemory::Reserve(int device, uint64_t budget_bytes) {
  ALAYA_RETURN_IF_ERROR(
      CudaStatus(cudaSetDevice(device), "choosing device " + std::to_string(device)));
  void* memory = nullptr;
  ALAYA_RETURN_IF_ERROR(
      CudaStatus(cudaMalloc(&memory, budget_bytes),
                 "reserving " + std::to_string(budget_bytes) + " bytes of device memory"));
  return std::unique_ptr<DeviceMemory>(
      new DeviceMemory(device, static_cast<std::byte*>(memory), budget_bytes));
}

StatusOr<PinnedBuffer> AllocatePinned(size_t bytes) {
  void* memory = nullptr;
  ALAYA_RETURN_IF_ERROR(
      CudaStatus(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped),
                 "pinning " + std::to_string(bytes) + " bytes of host memory"));
  return PinnedBuffer(static_cast<std::byte*>(memory), bytes,
                      [](std::byte* pinned) { cudaFreeHost(pinned); });
}

}  // namespace alaya
