#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/sparse_attention.h"
#include "cuda/kernels/sparse_sequence.cuh"

namespace alaya {

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
