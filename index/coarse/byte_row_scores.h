// Inner products of float weights with rows of bytes: what bounds of blocks cost.

#ifndef ALAYA_INDEX_COARSE_BYTE_ROW_SCORES_H_
#define ALAYA_INDEX_COARSE_BYTE_ROW_SCORES_H_

#include <cstdint>
#include <span>

namespace alaya {

// scores[i] = sum over j of weights[j] * rows[i * weights.size() + j], in float.
//
// Requires: weights.size() is a multiple of 16; rows.size() == scores.size() *
//   weights.size(), at any alignment.
void ByteRowScores(std::span<const float> weights, std::span<const uint8_t> rows,
                   std::span<float> scores);

// By definition, summed in double.
void ByteRowScoresReference(std::span<const float> weights, std::span<const uint8_t> rows,
                            std::span<double> scores);

}  // namespace alaya

#endif  // ALAYA_INDEX_COARSE_BYTE_ROW_SCORES_H_
