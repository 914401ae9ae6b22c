#include "index/flat/rest_estimate.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>

#include "index/kernels/softmax.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// The bar is found among steps of this many nats.
constexpr double kStepNats = 0.125;
constexpr size_t kStepCount = 256;

struct Scratch {
  ScratchBuffer<uint32_t> tokens;
  ScratchBuffer<float> scores;
  ScratchBuffer<float> weights;
};

size_t GroupOf(size_t token, size_t first_group_tokens) {
  if (token < first_group_tokens) return 0;
  return 1 + (token - first_group_tokens) / kGroupTokens;
}

}  // namespace

RestEstimate::RestEstimate(const ApproximateScores& scores, std::span<float> group_weights)
    : scores_(scores), group_weights_(group_weights) {
  totals_ = GroupWeights(scores.scores, scores.scale, scores.top, scores.first_group_tokens,
                         group_weights);
}

// ln of what a weight of 1 stands for. An error with standard deviation s inflates the
// mean of exp by exp(s^2 / 2).
double RestEstimate::LogOfWeightOne() const {
  const double deviation = double{scores_.scale} * double{scores_.deviation};
  return double{scores_.scale} * double{scores_.top} - deviation * deviation / 2;
}

float RestEstimate::RestBar(const RestTolerance& tolerance) const {
  assert(tolerance.error > 0);
  if (tolerance.value_deviation <= 0) return std::numeric_limits<float>::infinity();
  // Squared norm of the output in units of squared weight: what is attended, and the
  // rest as if its values were independent. Their means only add to it.
  const double attended = tolerance.attended_norm / tolerance.value_deviation *
                          std::exp(tolerance.attended_log_sum_exp - LogOfWeightOne());
  const double budget =
      tolerance.error * tolerance.error * (attended * attended + totals_.square_sum);
  if (budget >= totals_.square_sum) return std::numeric_limits<float>::infinity();

  // Weights below budget / sum together have less than the budget: sum w^2 <= max w *
  // sum w. Only those above need a closer look.
  const double least_weight = std::max(budget / totals_.sum, 1e-37);
  const double scale = scores_.scale;
  const auto least_score = static_cast<float>(double{scores_.top} + std::log(least_weight) / scale);
  thread_local Scratch scratch;
  const size_t room = scores_.scores.size() + kFilterPadding;
  const std::span<float> scores = scratch.scores.Take(room);
  const size_t count =
      FilterScores(scores_.scores, least_score, 0, scratch.tokens.Take(room), scores);
  const std::span<float> weights = scratch.weights.Take(count);
  CoarseWeights(scores.first(count), scores_.scale, scores_.top, weights);
  std::array<double, kStepCount> step_squares{};
  const auto steps_per_score = static_cast<float>(scale / kStepNats);
  for (size_t i = 0; i < count; ++i) {
    const float steps = (scores_.top - scores[i]) * steps_per_score;
    const auto step = static_cast<size_t>(std::min(steps, static_cast<float>(kStepCount - 1)));
    step_squares[step] += double{weights[i]} * double{weights[i]};
  }
  // From the top down, take steps out until the remaining squares are in the budget.
  double square_sum = totals_.square_sum;
  for (size_t step = 0; step < kStepCount; ++step) {
    if (square_sum <= budget) {
      return scores_.top - static_cast<float>(static_cast<double>(step) * kStepNats / scale);
    }
    square_sum -= step_squares[step];
  }
  return least_score;
}

void RestEstimate::LeaveOut(std::span<const uint32_t> tokens) {
  thread_local ScratchBuffer<float> scratch;
  const std::span<float> weights = scratch.Take(tokens.size());
  std::ranges::transform(tokens, weights.begin(),
                         [&](uint32_t token) { return scores_.scores[token]; });
  CoarseWeights(weights, scores_.scale, scores_.top, weights);
  for (size_t i = 0; i < tokens.size(); ++i) {
    float& group = group_weights_[GroupOf(tokens[i], scores_.first_group_tokens)];
    group = std::max(0.0F, group - weights[i]);
  }
}

double RestEstimate::log_sum_exp() const {
  double sum = 0;
  for (const float weight : group_weights_) sum += double{weight};
  // What rounding leaves of a group whose tokens are all attended is not mass.
  if (sum <= 1e-6 * totals_.sum * std::numeric_limits<float>::epsilon()) {
    return -std::numeric_limits<double>::infinity();
  }
  return LogOfWeightOne() + std::log(sum);
}

}  // namespace alaya
