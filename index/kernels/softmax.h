// The passes over a row of scores between keys and values.

#ifndef ALAYA_INDEX_KERNELS_SOFTMAX_H_
#define ALAYA_INDEX_KERNELS_SOFTMAX_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace alaya {

// The highest score; -inf without any.
float MaxScore(std::span<const float> scores);

// weights[i] = exp(scale * (scores[i] - max)); returns their sum. `weights` may be
// `scores`.
//
// Requires: equal sizes; max is finite and at least every score; scale > 0.
// Guarantees: relative error of a weight w below 1e-6 * (1 - ln w); weights below
//   1e-38 are 0.
double SoftmaxWeights(std::span<const float> scores, float scale, float max,
                      std::span<float> weights);
// By definition, in double.
double SoftmaxWeightsReference(std::span<const float> scores, float scale, float max,
                               std::span<double> weights);

// Writes the positions i with scores[i] >= bar, each plus first_token, and their
// scores, both in rising order of position. Returns how many.
//
// Requires: `tokens` and `kept` have room for scores.size() + kFilterPadding.
inline constexpr size_t kFilterPadding = 16;  // whole vectors are written
size_t FilterScores(std::span<const float> scores, float bar, uint32_t first_token,
                    std::span<uint32_t> tokens, std::span<float> kept);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_SOFTMAX_H_
