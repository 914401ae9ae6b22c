// The sequences of cuda/kernels/sparse_sequence.cuh on the host, for tests of what calls
// them.
//
// Compiled once, optimised, and without ThreadSanitizer, under which they would take a
// hundred times as long: a sequence runs on one thread, and what starts it is checked.
// Tests of the kernels themselves use host_launch.h, which also looks at shared memory.

#ifndef ALAYA_TESTS_CUDA_KERNELS_HOST_SEQUENCES_H_
#define ALAYA_TESTS_CUDA_KERNELS_HOST_SEQUENCES_H_

#include <cstdint>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/nearest_keys.h"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/stretch_scores.h"

namespace alaya {

void EncodeCentreOnHost(const EncodeTask& task);
void EncodeGroupsOnHost(const EncodeTask& task);
// Both, from all rows.
void EncodeFlatHeadOnHost(const EncodeTask& task);
void AttendOnHost(const SparseShape& shape, const SparseOptions& options, const SparseBatch& batch);
void FindNearestOnHost(const NearestTask& task);
void ScoreStretchesOnHost(const StretchTask& task);
void AdmitRowsOnHost(const RowOffers* offers, uint32_t offer_count, const uint32_t* step);

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_KERNELS_HOST_SEQUENCES_H_
