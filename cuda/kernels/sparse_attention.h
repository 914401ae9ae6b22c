// Launching the programs: sparse attention (sparse_task.h), the making of an index
// (flat_head.h), the search for nearest keys (nearest_keys.h), and the scores of stretches
// (stretch_scores.h).

#ifndef ALAYA_CUDA_KERNELS_SPARSE_ATTENTION_H_
#define ALAYA_CUDA_KERNELS_SPARSE_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/nearest_keys.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/stretch_scores.h"

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

// Brings rows into caches, after the batch that missed them.
//
// Shapes: offers [offer_count], of different caches, in device memory, as `step`, which is
//   the batch's.
cudaError_t LaunchAdmitRows(const RowOffers* offers, uint32_t offer_count, const uint32_t* step,
                            cudaStream_t stream);

// The index of a head: its centre, from all rows or a sample of keys; then the groups of
// one run of rows after the other; or all of it from all rows, first_token 0.
//
// Requires: finite keys and values.
cudaError_t LaunchEncodeCentre(const EncodeTask& task, cudaStream_t stream);
cudaError_t LaunchEncodeGroups(const EncodeTask& task, cudaStream_t stream);
cudaError_t LaunchEncodeFlatHead(const EncodeTask& task, cudaStream_t stream);

// Requires: finite keys and queries.
cudaError_t LaunchFindNearest(const NearestTask& task, cudaStream_t stream);

cudaError_t LaunchScoreStretches(const StretchTask& task, cudaStream_t stream);

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_SPARSE_ATTENTION_H_
