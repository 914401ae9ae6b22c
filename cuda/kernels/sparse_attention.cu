#include "cuda/kernels/sparse_attention.h"
#include "cuda/kernels/sparse_sequence.cuh"

namespace alaya {
namespace {

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

}  // namespace

size_t SparseScratchBytes(const SparseShape& shape) { return SparseScratch(nullptr, shape).bytes; }

cudaError_t LaunchSparseAttention(const SparseShape& shape, const SparseOptions& options,
                                  const SparseBatch& batch, cudaStream_t stream) {
  return RunSparseAttention(shape, options, batch, LaunchOnStream(stream));
}

cudaError_t LaunchEncodeFlatHead(const DeviceRows& keys, const DeviceRows& values,
                                 const FlatHead& head, cudaStream_t stream) {
  if (head.token_count == 0) return cudaSuccess;
  return RunEncodeFlatHead({keys, values, head}, LaunchOnStream(stream));
}

}  // namespace alaya
