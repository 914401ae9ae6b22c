// Inner products of float queries with a block of stored keys.

#ifndef ALAYA_INDEX_KERNELS_KEY_SCORES_H_
#define ALAYA_INDEX_KERNELS_KEY_SCORES_H_

#include <cstddef>
#include <span>

#include "storage/types/dtype.h"
#include "storage/types/views.h"

namespace alaya {

// scores[i][j] = <queries row i, keys row j>, in float.
//
// Shapes: queries [query_count, head_dim], keys [token_count, head_dim] at any
//   alignment, scores [query_count, token_count].
// Requires: head_dim is a multiple of 8.
// Guarantees: finite input gives finite scores: beyond float's range they saturate.
// Cost: reads the keys from memory once for up to 16 KiB of queries. Meanwhile
//   fetches `upcoming`, what the caller reads next, into the cache.
void KeyScores(MatrixView<const float> queries, EncodedMatrixView keys, MatrixView<float> scores,
               std::span<const std::byte> upcoming = {});

// The same, to the last bit, for rows that lie anywhere: `rows` of elements of `dtype`.
//
// Cost: memory latency, which it hides by asking for rows so many ahead: ask for those at the
//   beginning (index/prefetch.h) as soon as they are known.
inline constexpr size_t kGatherAheadRows = 16;
void GatheredKeyScores(MatrixView<const float> queries, DType dtype,
                       std::span<const std::byte* const> rows, MatrixView<float> scores);

// By definition, summed in double.
void KeyScoresReference(MatrixView<const float> queries, EncodedMatrixView keys,
                        MatrixView<double> scores);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_KEY_SCORES_H_
