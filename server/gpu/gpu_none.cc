#include "server/gpu/gpu.h"

namespace alaya {

StatusOr<std::unique_ptr<AttentionDevice>> OpenGpu(const GpuOptions& /*options*/) {
  return Unavailable("this build has no GPU backend");
}

}  // namespace alaya
