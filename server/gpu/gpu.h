// The GPU of this build. Which one is a matter of linking: gpu_cuda.cc, gpu_none.cc, or
// a test's own.

#ifndef ALAYA_SERVER_GPU_GPU_H_
#define ALAYA_SERVER_GPU_GPU_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "index/attention/attention_device.h"
#include "storage/types/status.h"

namespace alaya {

struct GpuOptions {
  uint64_t memory_budget_bytes = 0;  // > 0; of device memory, all in all
  // Called once, from any thread, when the device is given up.
  std::function<void(const Status&)> on_given_up;
  // The same when it takes no more part in builds, as what it found was wrong.
  std::function<void(const Status&)> on_wrong_build;
};

// Errors: Unavailable, with the reason, if there is no device that works;
//   ResourceExhausted if it has not so much memory left, or the budget is too small.
StatusOr<std::unique_ptr<AttentionDevice>> OpenGpu(const GpuOptions& options);

}  // namespace alaya

#endif  // ALAYA_SERVER_GPU_GPU_H_
