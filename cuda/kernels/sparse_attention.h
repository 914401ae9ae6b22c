// Launching sparse attention (sparse_task.h) and the making of an index (flat_head.h).

#ifndef ALAYA_CUDA_KERNELS_SPARSE_ATTENTION_H_
#define ALAYA_CUDA_KERNELS_SPARSE_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/sparse_task.h"

namespace alaya {

size_t SparseScratchBytes(const SparseShape& shape);

// Computes outputs, log_sum_exps and counts of a batch.
//
// Guarantees: a query without tokens gets output 0 and log_sum_exp -inf; equal input
//   gives equal output up to the order in which floats are added. Nothing is allocated,
//   nothing waits: a CUDA graph may capture it.
// Errors: what a launch returns; the outputs are unspecified then.
cudaError_t LaunchSparseAttention(const SparseShape& shape, const SparseOptions& options,
                                  const SparseBatch& batch, cudaStream_t stream);

// Makes the index of `head` from rows 0 to head.token_count - 1.
//
// Requires: finite keys and values.
cudaError_t LaunchEncodeFlatHead(const DeviceRows& keys, const DeviceRows& values,
                                 const FlatHead& head, cudaStream_t stream);

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_SPARSE_ATTENTION_H_
