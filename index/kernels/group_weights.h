// Softmax weights of approximate scores, a byte a token, added up over the groups of their codes.
//
// A weight is kept as the number of steps that it lies below 1, six to a factor of 2. What that
// rounds, 12 % at most, is little beside the errors of approximate scores, and it is nothing on
// average, even of equal scores: whether a token goes up or down depends on its place in the group,
// too. The bytes of a long text are a quarter of its scores.

#ifndef ALAYA_INDEX_KERNELS_GROUP_WEIGHTS_H_
#define ALAYA_INDEX_KERNELS_GROUP_WEIGHTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/kernels/key_codes.h"

namespace alaya {

inline constexpr int kStepsPerOctave = 6;
// What is so many steps below 1, 2^-42, or more, weighs nothing.
inline constexpr size_t kStepCount = 255;

// The weights of 0, 1, ... steps, the last one 0: to the last bit what GroupWeights adds up.
std::array<float, kStepCount + 1> WeightsOfSteps();

struct WeightTotals {
  double sum = 0;
  double square_sum = 0;
};

// Of every group of tokens.
struct GroupSums {
  std::span<uint8_t> steps;         // of its tokens; [64 * groups]
  std::span<float> weights;         // their sum
  std::span<float> square_sums;     // the sum of their squares
  std::span<uint8_t> fewest_steps;  // that any of its tokens has, or fewer

  size_t size() const { return weights.size(); }
  GroupSums subspan(size_t begin, size_t count) const {
    return {steps.subspan(begin * kCodeGroupTokens, count * kCodeGroupTokens),
            weights.subspan(begin, count), square_sums.subspan(begin, count),
            fewest_steps.subspan(begin, count)};
  }
};

// Writes `groups` with the weights exp(scale * (scores[i] - top)), and returns the sums over all
// tokens. Scores may be -inf: no weight.
//
// Requires: 64 scores a group; top is at least every score; scale > 0.
WeightTotals GroupWeights(std::span<const float> scores, float scale, float top, GroupSums groups);

// Moves all tokens so many steps down.
void LowerWeights(size_t steps, GroupSums groups);

// Of every stride-th group from the first one: for each number of steps below the bar, how many
// tokens have it, added to counts.
//
// Requires: bar <= kStepCount.
// Cost: one look at each group, and at each token that is counted.
void CountSteps(GroupSums groups, size_t stride, size_t bar,
                std::span<uint32_t, kStepCount> counts);
// Writes the places, plus `first`, of tokens with fewer steps than the bar, by rising number, and
// returns how many they are.
//
// Requires: as above; room for all tokens.
size_t ListBelowBar(GroupSums groups, size_t bar, uint32_t first, std::span<uint32_t> places);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_GROUP_WEIGHTS_H_
