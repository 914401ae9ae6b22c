// A softmax in progress: what attention must remember between blocks.

#ifndef ALAYA_INDEX_ATTENTION_SOFTMAX_STATE_H_
#define ALAYA_INDEX_ATTENTION_SOFTMAX_STATE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "index/attention/attention_part.h"
#include "index/kernels/softmax.h"

namespace alaya {

// One query's. The weighted value sum lies with the caller, relative to the same
// maximum as the denominator.
struct SoftmaxState {
  float max_score;
  double denominator;

  static constexpr SoftmaxState Empty() { return {-std::numeric_limits<float>::infinity(), 0.0}; }

  // Turns scores into weights relative to the highest score so far; when that rises,
  // rescales the denominator and `value_sum`.
  // Requires: scores not empty.
  void Add(std::span<const float> scores, float scale, std::span<float> weights,
           std::span<float> value_sum) {
    const float block_max = MaxScore(scores);
    if (block_max > max_score) {
      // exp(-inf) is 0: the first block starts from nothing.
      const double factor = std::exp(double{scale} * (double{max_score} - double{block_max}));
      for (float& sum : value_sum) sum *= static_cast<float>(factor);
      denominator *= factor;
      max_score = block_max;
    }
    denominator += SoftmaxWeights(scores, scale, max_score, weights);
  }

  // Divides value_sum by the denominator and returns the log_sum_exp, within float's
  // range; -inf if nothing was added.
  float Finish(float scale, std::span<float> value_sum) const {
    if (denominator == 0) return -std::numeric_limits<float>::infinity();
    const auto factor = static_cast<float>(1 / denominator);
    for (float& sum : value_sum) sum *= factor;
    constexpr double kLimit = std::numeric_limits<float>::max();
    const double log_sum_exp = double{scale} * double{max_score} + std::log(denominator);
    return static_cast<float>(std::clamp(log_sum_exp, -kLimit, kLimit));
  }
};

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_SOFTMAX_STATE_H_
