// Weighted sums of stored values: the second half of attention.

#ifndef ALAYA_INDEX_KERNELS_WEIGHTED_VALUES_H_
#define ALAYA_INDEX_KERNELS_WEIGHTED_VALUES_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "storage/types/views.h"

namespace alaya {

// sums[i] += sum over j of weights[i][j] * values row j.
//
// Shapes: weights [query_count, token_count], values [token_count, head_dim] at any
//   alignment, sums [query_count, head_dim].
// Requires: head_dim is a multiple of 8.
// Cost: one pass over the values. Meanwhile fetches `upcoming`, what the caller reads
//   next, into the cache.
void AddWeightedValues(MatrixView<const float> weights, EncodedMatrixView values,
                       MatrixView<float> sums, std::span<const std::byte> upcoming = {});

// sums[i] += sum over j of weights[i][j] * the row at rows[j].
//
// Shapes: weights [query_count, rows.size()], sums [query_count, head_dim].
// Requires: head_dim is a multiple of 8.
// Cost: rows may lie anywhere. Each is fetched kGatherAheadValues rows before it is read; of the
//   first ones the caller may have asked for.
inline constexpr size_t kGatherAheadValues = 12;
void AddGatheredValues(MatrixView<const float> weights, DType dtype,
                       std::span<const std::byte* const> rows, MatrixView<float> sums);

// By definition, summed in double.
void AddWeightedValuesReference(MatrixView<const float> weights, EncodedMatrixView values,
                                MatrixView<double> sums);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_WEIGHTED_VALUES_H_
