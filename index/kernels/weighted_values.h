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

// sum += sum over j of weights[j] * values row tokens[j]; reads only those rows.
//
// Requires: tokens are rows of `values`; head_dim is a multiple of 8.
void AddGatheredValues(std::span<const float> weights, std::span<const uint32_t> tokens,
                       EncodedMatrixView values, std::span<float> sum);

// By definition, summed in double.
void AddWeightedValuesReference(MatrixView<const float> weights, EncodedMatrixView values,
                                MatrixView<double> sums);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_WEIGHTED_VALUES_H_
