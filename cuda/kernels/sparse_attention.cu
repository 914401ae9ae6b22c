#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/nearest_keys.cuh"
#include "cuda/kernels/sparse_attention.h"
#include "cuda/kernels/sparse_sequence.cuh"
#include "cuda/kernels/stretch_scores.cuh"

namespace alaya {

size_t SparseScratchBytes(const SparseShape& shape) { return SparseScratch(nullptr, shape).bytes; }

cudaError_t LaunchSparseAttention(const SparseShape& shape, const SparseOptions& options,
                                  const SparseBatch& batch, cudaStream_t stream) {
  return RunSparseAttention(shape, options, batch, LaunchOnStream(stream));
}

cudaError_t LaunchAdmitRows(const RowOffers* offers, uint32_t offer_count, const uint32_t* step,
                            cudaStream_t stream) {
  return RunAdmitRows(offers, offer_count, step, LaunchOnStream(stream));
}

cudaError_t LaunchEncodeCentre(const EncodeTask& task, cudaStream_t stream) {
  return RunEncodeCentre(task, LaunchOnStream(stream));
}
cudaError_t LaunchEncodeGroups(const EncodeTask& task, cudaStream_t stream) {
  return RunEncodeGroups(task, LaunchOnStream(stream));
}
cudaError_t LaunchEncodeFlatHead(const EncodeTask& task, cudaStream_t stream) {
  if (task.head.token_count == 0) return cudaSuccess;
  return RunEncodeFlatHead(task, LaunchOnStream(stream));
}

cudaError_t LaunchFindNearest(const NearestTask& task, cudaStream_t stream) {
  return RunFindNearest(task, LaunchOnStream(stream));
}

cudaError_t LaunchScoreStretches(const StretchTask& task, cudaStream_t stream) {
  return RunScoreStretches(task, LaunchOnStream(stream));
}

}  // namespace alaya
