#include "index/flat/rest_estimate.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

#include "index/flat/sums.h"
#include "index/kernels/softmax.h"
#include "index/prefetch.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// The bar is found among steps of this many nats.
constexpr double kStepNats = 0.125;
constexpr size_t kStepCount = 256;
constexpr auto kStepsPerNat = static_cast<float>(1 / kStepNats);

// One group in so many makes a sample, if there are enough.
constexpr size_t kSampleStep = 8;
constexpr size_t kSampledGroupsMin = 256;

double Square(double weight) { return weight * weight; }

struct Scratch {
  ScratchBuffer<uint32_t> places;
  ScratchBuffer<float> scores;
};

// -ln x, for x from 0 to 1, to within 0.06: a float's bits are about linear in its logarithm.
float CoarseNatsBelowOne(float x) {
  constexpr auto kNatsPerBit = static_cast<float>(std::numbers::ln2 / (1 << 23));
  const int32_t bits = std::bit_cast<int32_t>(1.0F) - std::bit_cast<int32_t>(x);
  return kNatsPerBit * static_cast<float>(std::max(bits, 0));
}

size_t StepOf(float steps_below_reference) {
  return static_cast<size_t>(std::min(steps_below_reference, static_cast<float>(kStepCount - 1)));
}

size_t GroupOf(size_t token, size_t first_group_tokens) {
  if (token < first_group_tokens) return 0;
  return 1 + (token - first_group_tokens) / kGroupTokens;
}

}  // namespace

RestEstimate::RestEstimate(const ApproximateScores& scores, GroupSums groups)
    : scores_(scores), groups_(groups) {
  assert(!scores.scores.empty());
}

void RestEstimate::Add(size_t count, float top) {
  if (count == 0) return;
  if (top > reference_) RaiseReference(top);
  const size_t first_group_tokens = added_ == 0 ? scores_.first_group_tokens : kGroupTokens;
  const size_t group_count =
      1 + (count - std::min(count, first_group_tokens) + kGroupTokens - 1) / kGroupTokens;
  const GroupSums groups = {groups_.weights.subspan(added_groups_, group_count),
                            groups_.square_sums.subspan(added_groups_, group_count),
                            groups_.tops.subspan(added_groups_, group_count)};
  const WeightTotals totals = GroupWeights(scores_.scores.subspan(added_, count), scores_.scale,
                                           reference_, first_group_tokens, groups);
  totals_.sum += totals.sum;
  totals_.square_sum += totals.square_sum;
  added_ += count;
  added_groups_ += group_count;
}

void RestEstimate::Clear() {
  added_ = 0;
  added_groups_ = 0;
  reference_ = -std::numeric_limits<float>::infinity();
  totals_ = {};
  looked_from_ = std::numeric_limits<float>::infinity();
}

void RestEstimate::RaiseReference(float top) {
  const double nats_per_bit = std::numbers::ln2 / double{scores_.scale};
  const float before = reference_;
  reference_ = static_cast<float>(std::ceil(double{top} / nats_per_bit) * nats_per_bit);
  reference_ = std::max(reference_, top);
  if (added_ == 0) return;
  const double factor = std::exp(double{scores_.scale} * (double{before} - double{reference_}));
  for (float& weight : groups_.weights.first(added_groups_)) {
    weight = static_cast<float>(double{weight} * factor);
  }
  for (float& square_sum : groups_.square_sums.first(added_groups_)) {
    square_sum = static_cast<float>(double{square_sum} * factor * factor);
  }
  totals_.sum *= factor;
  totals_.square_sum *= factor * factor;
}

// An error with standard deviation s inflates the
// mean of exp by exp(s^2 / 2).
double RestEstimate::LogOfWeightOne() const {
  const double deviation = double{scores_.scale} * deviation_;
  return double{scores_.scale} * double{reference_} - deviation * deviation / 2;
}

template <class Use>
void RestEstimate::ForScoresFrom(float bar, const Use& use) const {
  thread_local Scratch scratch;
  // Scores of long contexts have left the caches.
  constexpr size_t kGroupsAhead = 16;
  const float* const ahead = scores_.scores.data() + kGroupsAhead * kGroupTokens;
  for (size_t group = 0, begin = 0; group < added_groups_;) {
    // Neighbouring groups that have such a score at once.
    size_t end = begin;
    size_t last = group;
    const size_t run_end = std::min(added_groups_, group + kGroupsAhead);
    for (; last < run_end && groups_.tops[last] >= bar; ++last) {
      if (last + kGroupsAhead < added_groups_ && groups_.tops[last + kGroupsAhead] >= bar) {
        Prefetch(ahead + end, kGroupTokens * sizeof(float));
      }
      end += last == 0 ? scores_.first_group_tokens : kGroupTokens;
    }
    end = std::min(end, added_);
    if (last > group) {
      const size_t room = end - begin + kFilterPadding;
      const std::span<uint32_t> places = scratch.places.Take(room);
      const std::span<float> scores = scratch.scores.Take(room);
      const size_t count = FilterScores(scores_.scores.subspan(begin, end - begin), bar,
                                        static_cast<uint32_t>(begin), places, scores);
      use(std::span<const uint32_t>(places.first(count)),
          std::span<const float>(scores.first(count)));
    }
    group = last;
    begin = end;
    if (group < added_groups_ && groups_.tops[group] < bar) {
      begin += group == 0 ? scores_.first_group_tokens : kGroupTokens;
      ++group;
    }
  }
}

void RestEstimate::LookFrom(float bar) {
  looked_from_ = bar;
  looked_places_.clear();
  looked_scores_.clear();
  ForScoresFrom(bar, [&](std::span<const uint32_t> places, std::span<const float> scores) {
    looked_places_.insert(looked_places_.end(), places.begin(), places.end());
    looked_scores_.insert(looked_scores_.end(), scores.begin(), scores.end());
  });
}

void RestEstimate::ListFrom(float bar, uint32_t first_token, std::vector<uint32_t>& tokens) const {
  if (bar >= looked_from_) {
    // No branch: about every second one is listed.
    size_t count = tokens.size();
    tokens.resize(count + looked_places_.size());
    for (size_t i = 0; i < looked_places_.size(); ++i) {
      tokens[count] = first_token + looked_places_[i];
      count += static_cast<size_t>(looked_scores_[i] >= bar);
    }
    tokens.resize(count);
    return;
  }
  ForScoresFrom(bar, [&](std::span<const uint32_t> places, std::span<const float>) {
    for (const uint32_t place : places) tokens.push_back(first_token + place);
  });
}

double RestEstimate::LeastWeight(double budget) const {
  // A group's weights below t have sum w^2 <= min(t * sum w, sum w^2) of all its weights. Which is
  // less changes where t is their ratio, and either holds on both sides, so a coarse logarithm
  // does.
  std::array<double, kStepCount> squares{};  // of groups whose ratio is in a step
  std::array<double, kStepCount> sums{};
  double lower_squares = 0;
  for (size_t g = 0; g < added_groups_; ++g) {
    const float weight = groups_.weights[g];
    const float square = groups_.square_sums[g];
    if (!(weight > 0)) continue;
    const size_t step = StepOf(CoarseNatsBelowOne(square / weight) * kStepsPerNat);
    squares[step] += double{square};
    sums[step] += double{weight};
    lower_squares += double{square};
  }
  double upper_sum = 0;
  for (size_t step = 0; step < kStepCount; ++step) {
    const double weight = std::exp(-kStepNats * static_cast<double>(step));
    if (lower_squares + weight * upper_sum <= budget) return weight;
    lower_squares -= squares[step];
    upper_sum += sums[step];
  }
  return 0;
}

template <class Amount>
std::optional<float> RestEstimate::BarAmong(std::span<const float> scores, float least_score,
                                            double allowed, double total,
                                            const Amount& amount) const {
  const double scale = scores_.scale;
  const auto steps_per_score = static_cast<float>(scale / kStepNats);
  thread_local ScratchBuffer<float> scratch;
  std::array<double, kStepCount> step_amounts{};
  const std::span<float> weights = scratch.Take(scores.size());
  CoarseWeights(scores, scores_.scale, reference_, weights);
  for (size_t i = 0; i < weights.size(); ++i) {
    const size_t step = StepOf((reference_ - scores[i]) * steps_per_score);
    step_amounts[step] += amount(double{weights[i]});
  }
  // From the top down, take steps out until what remains is allowed.
  double below = total;
  for (size_t step = 0; step < kStepCount; ++step) {
    if (below <= allowed) {
      return reference_ - static_cast<float>(static_cast<double>(step) * kStepNats / scale);
    }
    below -= step_amounts[step];
  }
  return below <= allowed ? std::optional(least_score) : std::nullopt;
}

template <class Amount>
float RestEstimate::BarWhere(double allowed, double total, double least_weight,
                             const Amount& amount) {
  const float least_score = ScoreOfWeight(least_weight);
  LookFrom(least_score);
  return BarAmong(looked_scores_, least_score, allowed, total, amount).value_or(least_score);
}

float RestEstimate::ScoreOfWeight(double weight) const {
  return static_cast<float>(double{reference_} + std::log(weight) / double{scores_.scale});
}

std::optional<float> RestEstimate::SampledSquareBar(double budget, float least_score) const {
  // Half of the budget, and a quarter of a nat: nearly always is that low enough.
  constexpr double kShare = 0.5 / kSampleStep;
  constexpr double kMarginNats = 0.25;
  thread_local Scratch scratch;
  thread_local std::vector<float> sampled;
  sampled.clear();
  double total = 0;
  const std::span<uint32_t> places = scratch.places.Take(kGroupTokens + kFilterPadding);
  const std::span<float> scores = scratch.scores.Take(places.size());
  for (size_t group = 1; group < added_groups_; group += kSampleStep) {
    total += double{groups_.square_sums[group]};
    const size_t begin = scores_.first_group_tokens + (group - 1) * kGroupTokens;
    constexpr size_t kAhead = 6;
    if (group + kAhead * kSampleStep < added_groups_ &&
        groups_.tops[group + kAhead * kSampleStep] >= least_score) {
      Prefetch(scores_.scores.data() + begin + kAhead * kSampleStep * kGroupTokens,
               kGroupTokens * sizeof(float));
    }
    if (groups_.tops[group] < least_score) continue;
    const size_t count =
        FilterScores(scores_.scores.subspan(begin, std::min(kGroupTokens, added_ - begin)),
                     least_score, 0, places, scores);
    sampled.insert(sampled.end(), scores.begin(), scores.begin() + static_cast<ptrdiff_t>(count));
  }
  const std::optional<float> bar = BarAmong(sampled, least_score, kShare * budget, total, Square);
  if (!bar) return bar;
  return *bar - static_cast<float>(kMarginNats / double{scores_.scale});
}

float RestEstimate::RestBar(const RestTolerance& tolerance) {
  assert(tolerance.error > 0);
  if (tolerance.value_deviation <= 0) return std::numeric_limits<float>::infinity();
  // Squared norm of the output in units of squared weight: what is attended, and the
  // rest as if its values were independent. Their means only add to it.
  const double attended = tolerance.attended_norm / tolerance.value_deviation *
                          std::exp(tolerance.attended_log_sum_exp - LogOfWeightOne());
  const double budget =
      tolerance.error * tolerance.error * (attended * attended + totals_.square_sum);
  if (budget >= totals_.square_sum) return std::numeric_limits<float>::infinity();

  // Weights below this have less than the budget together. Only those above need a closer look.
  const double least_weight = std::max({LeastWeight(budget), budget / totals_.sum, 1e-37});
  const float least_score = ScoreOfWeight(least_weight);
  // That is far below the bar, and ten times as many scores lie above it. A sample of the groups
  // says where to look; whether it was low enough is seen there.
  if (added_groups_ >= kSampledGroupsMin) {
    const std::optional<float> sampled = SampledSquareBar(budget, least_score);
    if (sampled && *sampled > least_score) {
      LookFrom(*sampled);
      const std::optional<float> bar =
          BarAmong(looked_scores_, *sampled, budget, totals_.square_sum, Square);
      if (bar) return *bar;
    }
  }
  return BarWhere(budget, totals_.square_sum, least_weight, Square);
}

float RestEstimate::MassBar(double share) {
  assert(share > 0 && share < 1);
  const double allowed = share * totals_.sum;
  // All that lie below this have half of it at most, or weights that are zero.
  const double least_weight = std::max(allowed / 2 / static_cast<double>(added_), 1e-37);
  return BarWhere(allowed, totals_.sum, least_weight, [](double weight) { return weight; });
}

void RestEstimate::LeaveOut(std::span<const uint32_t> tokens) {
  thread_local ScratchBuffer<float> scratch;
  const std::span<float> weights = scratch.Take(tokens.size());
  std::ranges::transform(tokens, weights.begin(),
                         [&](uint32_t token) { return scores_.scores[token]; });
  CoarseWeights(weights, scores_.scale, reference_, weights);
  for (size_t i = 0; i < tokens.size(); ++i) {
    float& group = groups_.weights[GroupOf(tokens[i], scores_.first_group_tokens)];
    group = std::max(0.0F, group - weights[i]);
  }
}

double RestEstimate::log_sum_exp() const {
  const double sum = SumOf(groups_.weights);
  // What rounding leaves of a group whose tokens are all attended is not mass.
  if (sum <= 1e-6 * totals_.sum * std::numeric_limits<float>::epsilon()) {
    return -std::numeric_limits<double>::infinity();
  }
  return LogOfWeightOne() + std::log(sum);
}

}  // namespace alaya
