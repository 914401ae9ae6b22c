// The GPU of a server for tests: kernels' programs on the host. It is lost as soon as the
// file exists that FAKE_GPU_LOST_FILE names, and there is none if that is not set.

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "cuda/backend/cuda_backend.h"
#include "server/gpu/gpu.h"
#include "tests/cuda/device/fake_device.h"

namespace alaya {

StatusOr<std::unique_ptr<AttentionDevice>> OpenGpu(const GpuOptions& options) {
  const char* const lost_file = std::getenv("FAKE_GPU_LOST_FILE");
  if (lost_file == nullptr) return Unavailable("this machine has no fake GPU");
  const auto control = std::make_shared<FakeDeviceControl>();
  control->is_lost_now = [file = std::string(lost_file)] { return std::filesystem::exists(file); };
  CudaBackendOptions backend = CudaBackendOptions::ForBudget(options.memory_budget_bytes);
  // As if it were fast: plans then prefer it.
  backend.costs = DeviceCosts{.call_us = 0.01, .ns_per_token = 0};
  backend.on_given_up = options.on_given_up;
  backend.on_wrong_build = options.on_wrong_build;
  return CudaBackend::Open(MakeFakeDevice(options.memory_budget_bytes, control),
                           std::move(backend));
}

}  // namespace alaya
