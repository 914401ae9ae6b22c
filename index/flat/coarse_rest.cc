#include "index/flat/coarse_rest.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>

#include "index/flat/sums.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// Steps of numbers that are not negative: eight to a power of two.
constexpr int kStepShift = 20;
constexpr size_t kStepCount = size_t{1} << (31 - kStepShift);
size_t StepOf(float number) { return std::bit_cast<uint32_t>(number) >> kStepShift; }
float LeastOf(size_t step) {
  return std::bit_cast<float>(static_cast<uint32_t>(step) << kStepShift);
}

}  // namespace

CoarseRest::CoarseRest(size_t token_count, float scale, std::span<const RestQuery> queries)
    : scale_(scale), group_count_(CodeGroupCount(token_count)), is_open_(group_count_) {
  thread_local ScratchBuffer<float> weight_buffer;
  thread_local ScratchBuffer<float> square_buffer;
  weights_ = weight_buffer.Take(queries.size() * group_count_);
  square_sums_ = square_buffer.Take(queries.size() * group_count_);
  for (const RestQuery& facts : queries) {
    // Errors inflate the mean of an exponential by half the square of their standard deviation.
    const double nats = double{scale} * facts.coarse_deviation;
    queries_.push_back({.facts = facts, .error_nats = static_cast<float>(nats * nats / 2)});
  }
}

std::span<const CoarseWeighing> CoarseRest::Weighing(TokenRange tokens,
                                                     std::span<const float> bests) {
  assert(tokens.begin % kCodeGroupTokens == 0);
  const size_t first = tokens.begin / kCodeGroupTokens;
  const size_t count = CodeGroupCount(tokens.size());
  scanned_groups_ = first + count;
  weighing_.clear();
  for (size_t q = 0; q < queries_.size(); ++q) {
    Query& query = queries_[q];
    if (!query.has_top && !Intersect(query.facts.covered, tokens).empty()) {
      if (std::isfinite(bests[q])) query.top = bests[q];
      query.has_top = true;
    }
    const size_t begin = q * group_count_ + first;
    weighing_.push_back({.scale = scale_,
                         .top = query.top,
                         .error_nats = query.error_nats,
                         .weights = weights_.subspan(begin, count),
                         .square_sums = square_sums_.subspan(begin, count)});
  }
  return weighing_;
}

void CoarseRest::Open(size_t query_index, double share, double attended, double error) {
  const Query& query = queries_[query_index];
  const TokenRange covered =
      Intersect(query.facts.covered, {0, scanned_groups_ * kCodeGroupTokens});
  if (covered.empty()) return;
  const size_t begin = CodeGroupCount(covered.begin);
  const size_t end = covered.end / kCodeGroupTokens;
  if (covered.begin % kCodeGroupTokens != 0) OpenGroup(begin - 1);
  if (covered.end % kCodeGroupTokens != 0) OpenGroup(end);
  if (begin >= end) return;
  const std::span squares = square_sums_.subspan(query_index * group_count_ + begin, end - begin);
  std::array<double, kStepCount> steps{};
  double total = 0;
  for (const float square : squares) {
    if (!std::isfinite(square)) continue;
    steps[StepOf(square)] += double{square};
    total += double{square};
  }
  // Errors inflate squares on average by twice what was taken back.
  const double inflation = std::exp(2 * double{query.error_nats} * error * error);
  const double allowed = share * share * (attended + total / inflation);
  double below = 0;
  size_t step = 0;
  while (step < kStepCount && below + steps[step] <= allowed) below += steps[step++];
  // What is not finite is opened.
  const float least = LeastOf(std::min(step, StepOf(std::numeric_limits<float>::infinity())));
  for (size_t i = 0; i < squares.size(); ++i) {
    if (!(squares[i] < least)) OpenGroup(begin + i);
  }
}

size_t CoarseRest::open_count() const {
  return static_cast<size_t>(std::ranges::count(is_open_, uint8_t{1}));
}

void CoarseRest::Settle() {
  open_groups_.clear();
  for (size_t group = 0; group < scanned_groups_; ++group) {
    if (is_open_[group] != 0) open_groups_.push_back(static_cast<uint32_t>(group));
  }
  for (size_t q = 0; q < queries_.size(); ++q) {
    Query& query = queries_[q];
    const std::span<float> weights = weights_.subspan(q * group_count_, group_count_);
    const size_t begin = std::min(CodeGroupCount(query.facts.covered.begin), scanned_groups_);
    const size_t end =
        std::clamp(query.facts.covered.end / kCodeGroupTokens, begin, scanned_groups_);
    std::ranges::fill(weights.first(begin), 0.0F);
    std::ranges::fill(weights.subspan(end), 0.0F);
    for (const uint32_t group : open_groups_) weights[group] = 0;
    query.weight_sum = SumOf(weights);
  }
}

std::span<const float> CoarseRest::weights(size_t query_index) const {
  return weights_.subspan(query_index * group_count_, group_count_);
}

double CoarseRest::LogOfWeightOne(size_t query_index) const {
  return double{scale_} * double{queries_[query_index].top};
}

}  // namespace alaya
