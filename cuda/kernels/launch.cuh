// Running programs (team.cuh) on a device.

#ifndef ALAYA_CUDA_KERNELS_LAUNCH_CUH_
#define ALAYA_CUDA_KERNELS_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/team.cuh"

namespace alaya {

template <class Program>
__global__ void __launch_bounds__(kTeamThreads)
    RunProgram(const __grid_constant__ Program program) {
  extern __shared__ __align__(16) unsigned char shared[];
  program(blockIdx.x, blockIdx.y, shared);
}

class LaunchOnStream {
 public:
  explicit LaunchOnStream(cudaStream_t stream) : stream_(stream) {}

  template <class Program>
  cudaError_t operator()(const Program& program, uint32_t grid_x, uint32_t grid_y,
                         uint32_t shared_bytes) const {
    if (grid_x == 0 || grid_y == 0) return cudaSuccess;
    RunProgram<<<dim3(grid_x, grid_y), kTeamThreads, shared_bytes, stream_>>>(program);
    return cudaGetLastError();
  }

 private:
  cudaStream_t stream_;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_LAUNCH_CUH_
