#include <utility>

#include "cuda/backend/cuda_backend.h"
#include "cuda/cuda_device.h"
#include "server/gpu/gpu.h"

namespace alaya {

StatusOr<std::unique_ptr<AttentionDevice>> OpenGpu(const GpuOptions& options) {
  ALAYA_ASSIGN_OR_RETURN(std::unique_ptr<Device> device,
                         OpenCudaDevice(/*ordinal=*/0, options.memory_budget_bytes));
  CudaBackendOptions backend = CudaBackendOptions::ForBudget(options.memory_budget_bytes);
  backend.on_given_up = options.on_given_up;
  backend.on_wrong_build = options.on_wrong_build;
  return CudaBackend::Open(std::move(device), std::move(backend));
}

}  // namespace alaya
