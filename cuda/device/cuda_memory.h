// Memory of a device, and host memory that a device reads.

#ifndef ALAYA_CUDA_DEVICE_CUDA_MEMORY_H_
#define ALAYA_CUDA_DEVICE_CUDA_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "cuda/device/device.h"
#include "cuda/device/memory_pool.h"
#include "storage/types/status.h"

namespace alaya {

// All that is ever taken of a device: one reservation, made at the start, so that the
// budget is hard and nothing is allocated while queries run.
class DeviceMemory {
 public:
  // Errors: ResourceExhausted if the device has not so much left; Unavailable.
  static StatusOr<std::unique_ptr<DeviceMemory>> Reserve(int device, uint64_t budget_bytes);

  MemoryPool& pool() { return pool_; }
  int device() const { return device_; }
  std::span<std::byte> bytes() const { return {memory_.get(), bytes_}; }
  // Where a block of the pool lies on the device.
  std::byte* address(const PoolBlock& block) const { return memory_.get() + block.offset(); }

 private:
  struct Release {
    void operator()(std::byte* memory) const;
  };

  DeviceMemory(int device, std::byte* memory, uint64_t bytes)
      : device_(device), bytes_(bytes), memory_(memory), pool_(bytes) {}

  const int device_;
  const uint64_t bytes_;
  const std::unique_ptr<std::byte, Release> memory_;
  MemoryPool pool_;
};

// Errors: ResourceExhausted, Unavailable.
StatusOr<PinnedBuffer> AllocatePinned(size_t bytes);

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_CUDA_MEMORY_H_
