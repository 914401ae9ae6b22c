// A device as the backend uses it: memory, and queues that copy and run sequences.
//
// cuda_device.h is a CUDA device. Tests have another that runs the programs on the host
// and fails when told to.

#ifndef ALAYA_CUDA_DEVICE_DEVICE_H_
#define ALAYA_CUDA_DEVICE_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/nearest_keys.h"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/stretch_scores.h"
#include "storage/types/status.h"

namespace alaya {

// Host memory with fixed pages: a device reads it through the same address, and copies
// to and from it do not wait for the processor.
class PinnedBuffer {
 public:
  using Release = void (*)(std::byte* memory);

  PinnedBuffer(std::byte* memory, size_t size, Release release)
      : memory_(memory, release), size_(size) {}

  std::byte* data() const { return memory_.get(); }
  std::span<std::byte> bytes() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::byte, Release> memory_;
  size_t size_ = 0;
};

// Does one thing after the other. Calls return before the work is done; an error may
// belong to earlier work. All errors are Unavailable: the device is of no further use.
//
// Threads: one at a time.
class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;

  // Host memory is pinned and stays as it is until the work is done.
  virtual Status CopyToDevice(std::span<const std::byte> host, std::byte* device) = 0;
  virtual Status CopyToHost(const std::byte* device, std::span<std::byte> host) = 0;
  virtual Status Clear(std::byte* device, size_t bytes) = 0;

  // Sequences of cuda/kernels/sparse_attention.h.
  virtual Status EncodeCentre(const EncodeTask& task) = 0;
  virtual Status EncodeGroups(const EncodeTask& task) = 0;
  virtual Status Attend(const SparseShape& shape, const SparseOptions& options,
                        const SparseBatch& batch) = 0;
  virtual Status FindNearest(const NearestTask& task) = 0;
  virtual Status ScoreStretches(const StretchTask& task) = 0;
  virtual Status AdmitRows(const RowOffers* offers, uint32_t offer_count, const uint32_t* step) = 0;

  // Marks the work so far; Wait waits for the last mark.
  virtual Status Mark() = 0;
  virtual Status Wait() = 0;

  // Waits for all work so far.
  Status Finish() {
    ALAYA_RETURN_IF_ERROR(Mark());
    return Wait();
  }
};

// Threads: any. Outlives its queues and buffers.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string name() const = 0;  // "cuda:0"
  virtual std::string description() const = 0;
  // All that is ever taken of its memory: one reservation, 256-byte aligned, so that the
  // budget is hard and nothing is allocated while queries run.
  virtual std::span<std::byte> memory() const = 0;

  virtual StatusOr<PinnedBuffer> AllocatePinned(size_t bytes) = 0;
  virtual StatusOr<std::unique_ptr<DeviceQueue>> CreateQueue() = 0;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_DEVICE_H_
