#include "index/flat/rest_estimate.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>

#include "index/flat/sums.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// One group in so many makes a sample, if there are enough.
constexpr size_t kSampleStep = 8;
constexpr size_t kSampledGroupsMin = 256;

const std::array<float, kStepCount + 1>& StepWeights() {
  static const std::array<float, kStepCount + 1> weights = WeightsOfSteps();
  return weights;
}

double Square(double weight) { return weight * weight; }

// How many steps x, from 0 to 1, is below 1, to within half a step: a float's bits are about linear
// in its logarithm.
size_t CoarseStepsOf(float x) {
  constexpr auto kStepsPerBit = static_cast<float>(kStepsPerOctave) / (1 << 23);
  const int32_t bits = std::bit_cast<int32_t>(1.0F) - std::bit_cast<int32_t>(x);
  const float steps = kStepsPerBit * static_cast<float>(std::max(bits, 0));
  return std::min(static_cast<size_t>(steps), kStepCount - 1);
}

// The least bar from which on amounts of weights come to no more than `allowed`, where those of
// all tokens come to `total` and `counts` knows those above bar_max; none if bar_max is too little.
template <class Amount>
std::optional<size_t> LeastBar(std::span<const uint32_t, kStepCount> counts, double allowed,
                               double total, size_t bar_max, const Amount& amount) {
  double rest = total;
  for (size_t bar = 0; bar < bar_max && rest > allowed; ++bar) {
    rest -= counts[bar] * amount(double{StepWeights()[bar]});
    if (rest <= allowed) return bar + 1;
  }
  return rest <= allowed ? std::optional<size_t>(0) : std::nullopt;
}

}  // namespace

RestEstimate::RestEstimate(float scale, size_t first_place, GroupSums groups)
    : scale_(scale), first_place_(first_place), groups_(groups) {
  assert(first_place < kCodeGroupTokens);
}

void RestEstimate::Add(std::span<const float> scores, float top) {
  if (scores.empty()) return;
  if (top > reference_) RaiseReference(top);
  if (added_groups_ == 0 && first_place_ > 0) {
    const size_t count = std::min(scores.size(), kCodeGroupTokens - first_place_);
    AddPart(scores.first(count), first_place_);
    scores = scores.subspan(count);
  }
  const size_t whole = scores.size() / kCodeGroupTokens * kCodeGroupTokens;
  AddGroups(scores.first(whole));
  if (whole < scores.size()) AddPart(scores.subspan(whole), 0);
}

void RestEstimate::AddGroups(std::span<const float> scores) {
  const GroupSums groups = groups_.subspan(added_groups_, scores.size() / kCodeGroupTokens);
  const WeightTotals totals = GroupWeights(scores, scale_, reference_, groups);
  totals_.sum += totals.sum;
  totals_.square_sum += totals.square_sum;
  added_groups_ += groups.size();
}

void RestEstimate::AddPart(std::span<const float> scores, size_t place) {
  std::array<float, kCodeGroupTokens> group;
  group.fill(-std::numeric_limits<float>::infinity());
  std::ranges::copy(scores, group.begin() + static_cast<std::ptrdiff_t>(place));
  AddGroups(group);
}

void RestEstimate::RaiseReference(float top) {
  const double scores_per_octave = std::numbers::ln2 / double{scale_};
  const double before = reference_octaves_;
  reference_octaves_ = std::ceil(double{top} / scores_per_octave);
  reference_ = std::max(top, static_cast<float>(reference_octaves_ * scores_per_octave));
  if (added_groups_ == 0) return;
  const double octaves = reference_octaves_ - before;
  LowerWeights(static_cast<size_t>(std::min(octaves, 1e6)) * kStepsPerOctave, added());
  totals_.sum *= std::exp2(-octaves);
  totals_.square_sum *= std::exp2(-2 * octaves);
}

// An error with standard deviation s inflates the
// mean of exp by exp(s^2 / 2).
double RestEstimate::LogOfWeightOne() const {
  const double deviation = double{scale_} * deviation_;
  return double{scale_} * double{reference_} - deviation * deviation / 2;
}

void RestEstimate::ListHeavy(size_t bar, uint32_t first, std::vector<uint32_t>& tokens) const {
  constexpr size_t kGroups = 64;
  thread_local ScratchBuffer<uint32_t> buffer;
  const std::span<uint32_t> places = buffer.Take(kGroups * kCodeGroupTokens);
  for (size_t group = 0; group < added_groups_; group += kGroups) {
    const GroupSums groups = groups_.subspan(group, std::min(kGroups, added_groups_ - group));
    const size_t count =
        ListBelowBar(groups, bar, first + static_cast<uint32_t>(group * kCodeGroupTokens), places);
    tokens.insert(tokens.end(), places.begin(),
                  places.begin() + static_cast<std::ptrdiff_t>(count));
  }
}

size_t RestEstimate::SureSquareBar(double budget) const {
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
    const size_t step = CoarseStepsOf(square / weight);
    squares[step] += double{square};
    sums[step] += double{weight};
    lower_squares += double{square};
  }
  double upper_sum = 0;
  for (size_t bar = 0; bar < kStepCount; ++bar) {
    if (lower_squares + double{StepWeights()[bar]} * upper_sum <= budget) return bar;
    lower_squares -= squares[bar];
    upper_sum += sums[bar];
  }
  // The others weigh nothing.
  return kStepCount;
}

size_t RestEstimate::SampledSquareBar(double budget, size_t bar_max) const {
  // Half of the budget, and a quarter of a nat: nearly always is that enough.
  constexpr double kShare = 0.5 / kSampleStep;
  constexpr size_t kMarginSteps = 2;
  StepCounts counts{};
  const GroupSums all = groups_.subspan(1, added_groups_ - 1);
  CountSteps(all, kSampleStep, bar_max, counts);
  double total = 0;
  for (size_t g = 0; g < all.size(); g += kSampleStep) total += double{all.square_sums[g]};
  const std::optional<size_t> bar = LeastBar(counts, kShare * budget, total, bar_max, Square);
  return std::min(bar.value_or(bar_max) + kMarginSteps, bar_max);
}

size_t RestEstimate::RestBar(const RestTolerance& tolerance) const {
  assert(tolerance.error > 0);
  if (tolerance.value_deviation <= 0) return 0;
  // Squared norm of the output in units of squared weight: what is attended, and the
  // rest as if its values were independent. Their means only add to it.
  const double attended = tolerance.attended_norm / tolerance.value_deviation *
                          std::exp(tolerance.attended_log_sum_exp - LogOfWeightOne());
  const double budget =
      tolerance.error * tolerance.error * (attended * attended + totals_.square_sum);
  if (budget >= totals_.square_sum) return 0;

  // Enough for certain, but often ten times as many tokens as need be lie above it. A sample of the
  // groups says where to look; whether that was enough is seen there.
  const size_t sure = SureSquareBar(budget);
  const auto least = [&](size_t bar_max) {
    StepCounts counts{};
    CountSteps(added(), 1, bar_max, counts);
    return LeastBar(counts, budget, totals_.square_sum, bar_max, Square);
  };
  if (added_groups_ >= kSampledGroupsMin) {
    const std::optional<size_t> bar = least(SampledSquareBar(budget, sure));
    if (bar) return *bar;
  }
  return least(sure).value_or(sure);
}

size_t RestEstimate::MassBar(double share) const {
  assert(share > 0 && share < 1);
  const double allowed = share * totals_.sum;
  // All that lie below this have half of it at most, or weigh nothing.
  const double least_weight = allowed / 2 / static_cast<double>(added_groups_ * kCodeGroupTokens);
  const double steps = std::ceil(-kStepsPerOctave * std::log2(least_weight));
  const auto bar_max = static_cast<size_t>(std::clamp(steps, 0.0, double{kStepCount}));
  StepCounts counts{};
  CountSteps(added(), 1, bar_max, counts);
  return LeastBar(counts, allowed, totals_.sum, bar_max, [](double weight) { return weight; })
      .value_or(bar_max);
}

void RestEstimate::LeaveOut(std::span<const uint32_t> places) {
  const auto& weights = StepWeights();
  for (const uint32_t place : places) {
    float& group = groups_.weights[place / kCodeGroupTokens];
    group = std::max(0.0F, group - weights[groups_.steps[place]]);
  }
}

double RestEstimate::log_sum_exp() const {
  const double sum = SumOf(group_weights());
  // What rounding leaves of a group whose tokens are all attended is not mass.
  if (sum <= 1e-6 * totals_.sum * std::numeric_limits<float>::epsilon()) {
    return -std::numeric_limits<double>::infinity();
  }
  return LogOfWeightOne() + std::log(sum);
}

}  // namespace alaya
