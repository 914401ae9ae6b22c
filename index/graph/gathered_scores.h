// Inner products of one query with stored keys that lie anywhere.
//
// A graph's neighbours are rows here and there, where index/kernels/key_scores.h wants
// rows in a block.

#ifndef ALAYA_INDEX_GRAPH_GATHERED_SCORES_H_
#define ALAYA_INDEX_GRAPH_GATHERED_SCORES_H_

#include <cstddef>
#include <span>

#include "storage/types/dtype.h"

namespace alaya {

// scores[i] = <query, rows[i]>, where a row is query.size() elements of `dtype` at any
// alignment.
//
// Requires: query.size() is a multiple of 8; scores.size() == rows.size().
// Guarantees: as KeyScores: finite input gives finite scores.
// Cost: memory latency; ask for the rows (index/prefetch.h) as soon as they are known.
void GatheredScores(std::span<const float> query, DType dtype,
                    std::span<const std::byte* const> rows, std::span<float> scores);

// By definition, summed in double.
void GatheredScoresReference(std::span<const float> query, DType dtype,
                             std::span<const std::byte* const> rows, std::span<double> scores);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_GATHERED_SCORES_H_
