// A device without a device: its memory is the host's, and its queues run the kernels'
// programs on the host, as late as a device might: when somebody waits.
//
// It takes its time and fails when told to.

#ifndef ALAYA_TESTS_CUDA_DEVICE_FAKE_DEVICE_H_
#define ALAYA_TESTS_CUDA_DEVICE_FAKE_DEVICE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "cuda/device/device.h"
#include "storage/types/status.h"

namespace alaya {

// What a test and all parts of a fake device share.
struct FakeDeviceControl {
  // True: every call fails from now on.
  std::atomic<bool> is_lost{false};
  // Asked with every call, too; may be null. Set before the device is used.
  std::function<bool()> is_lost_now;
  // Of every launch one nearest key is another.
  std::atomic<bool> finds_wrong_keys{false};
  // Before a queue's work is done.
  std::atomic<std::chrono::microseconds> latency{std::chrono::microseconds(0)};

  std::atomic<uint64_t> attend_count{0};  // sequences, and the tasks in them
  std::atomic<uint64_t> task_count{0};
  std::atomic<uint64_t> encode_count{0};   // runs of rows
  std::atomic<uint64_t> nearest_count{0};  // batches of queries
  std::atomic<uint64_t> stretch_count{0};  // launches
  std::atomic<uint64_t> admit_count{0};    // caches offered rows
};

std::unique_ptr<Device> MakeFakeDevice(uint64_t memory_bytes,
                                       std::shared_ptr<FakeDeviceControl> control);

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_DEVICE_FAKE_DEVICE_H_
