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
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  // Waits for the launches before, whose last blocks may still run; then lets the next launch
  // come as soon as all blocks of this one have begun. Without effect unless launched so.
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  program(blockIdx.x, blockIdx.y, shared);
}

// Launches one program after the other. From the second one on a launch begins while the one
// before ends, where the device can do that (compute capability 9 and later): its blocks are
// there already when they may go on. A CUDA graph keeps that.
//
// Source: CUDA Programming Guide, programmatic dependent launch.
class LaunchOnStream {
 public:
  explicit LaunchOnStream(cudaStream_t stream, bool overlaps = true)
      : stream_(stream), overlaps_(overlaps) {}

  template <class Program>
  cudaError_t operator()(const Program& program, uint32_t grid_x, uint32_t grid_y,
                         uint32_t shared_bytes) const {
    if (grid_x == 0 || grid_y == 0) return cudaSuccess;
    if (is_first_ && overlaps_) overlaps_ = DeviceOverlaps();
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(grid_x, grid_y);
    config.blockDim = dim3(kTeamThreads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream_;
    config.attrs = &overlap;
    // What lies before the first one in the stream is no program of ours.
    config.numAttrs = overlaps_ && !is_first_ ? 1 : 0;
    is_first_ = false;
    return cudaLaunchKernelEx(&config, RunProgram<Program>, program);
  }

 private:
  static bool DeviceOverlaps() {
    int device = 0;
    int major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           major >= 9;
  }

  const cudaStream_t stream_;
  mutable bool overlaps_;
  mutable bool is_first_ = true;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_LAUNCH_CUH_
