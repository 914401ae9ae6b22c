// Softmax weights of approximate scores, added up over groups of consecutive tokens.

#ifndef ALAYA_INDEX_KERNELS_GROUP_WEIGHTS_H_
#define ALAYA_INDEX_KERNELS_GROUP_WEIGHTS_H_

#include <cstddef>
#include <span>

namespace alaya {

// Tokens of a group.
inline constexpr size_t kGroupTokens = 64;

struct WeightTotals {
  double sum = 0;
  double square_sum = 0;
};

// weights[i] = exp(scale * (scores[i] - top)), more coarsely than SoftmaxWeights and in
// half its time: approximate scores deserve no better.
//
// Requires: equal sizes; top is at least every score; scale > 0.
// Guarantees: relative error below 1e-4 + 1e-6 * -ln(weight); weights below 1e-37 are
//   0. Equal scores have equal weights wherever they stand.
void CoarseWeights(std::span<const float> scores, float scale, float top, std::span<float> weights);

// Of every group of tokens.
struct GroupSums {
  std::span<float> weights;      // sum of the tokens' CoarseWeights
  std::span<float> square_sums;  // of their squares
  std::span<float> tops;         // the highest score
};

// Writes `groups` and returns the sums over all tokens. Groups follow each other, the
// first one with `first_group_tokens` tokens, the last one with what is left.
//
// Requires: 1 <= first_group_tokens <= kGroupTokens; spans of the number of groups.
WeightTotals GroupWeights(std::span<const float> scores, float scale, float top,
                          size_t first_group_tokens, GroupSums groups);
// By definition.
WeightTotals GroupWeightsReference(std::span<const float> scores, float scale, float top,
                                   size_t first_group_tokens, std::span<double> group_sums);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_GROUP_WEIGHTS_H_
