// Attention to the tokens that a search leaves out, estimated for one query from
// approximate scores.
//
// A left-out token counts with its approximate weight and with the mean value of its
// group of consecutive tokens. What this misses is how values deviate from their
// group's mean. That adds up like independent noise, to
//     sqrt(sum of squared weights) * deviation of the values:
// many small weights average it out, a few large ones do not. So a bar is chosen from
// the weights themselves: tokens above it have to be attended one by one, and what
// stays below it adds no more than a given share of the output's norm.
//
// Source: not in the paper; the estimation zone of RetroInfer (arXiv:2505.02922) has
// the means, without the bar.

#ifndef ALAYA_INDEX_FLAT_REST_ESTIMATE_H_
#define ALAYA_INDEX_FLAT_REST_ESTIMATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "index/kernels/group_weights.h"

namespace alaya {

// What the error is measured against.
struct RestTolerance {
  double error = 0.01;  // share of the output's norm, > 0
  // Norm of the values' deviations from their group's mean, root mean square.
  double value_deviation = 0;
  // What is attended already: norm of its (normalised) output, and its log_sum_exp;
  // -inf: nothing.
  double attended_norm = 0;
  double attended_log_sum_exp = 0;
};

// Bars are in steps of weight (group_weights.h): tokens with fewer have to be attended; 0: none.
//
// Life: construction -> Add of scores of consecutive tokens -> a bar -> LeaveOut of all tokens
// that are attended -> the rest's group weights and log_sum_exp.
class RestEstimate {
 public:
  // `scale`: from score to logit, > 0. The first score is that of token `first_place` of the first
  // of `groups`, whose memory must outlive this.
  RestEstimate(float scale, size_t first_place, GroupSums groups);

  // The next scores, unscaled, none of them above `top`. All but the last ones end where a group
  // ends.
  void Add(std::span<const float> scores, float top);
  // The standard deviation of the scores' errors, once it is known.
  void set_deviation(double deviation) { deviation_ = deviation; }

  // The least bar that keeps the rest's error within the tolerance.
  //
  // Cost: one pass over the groups, and a look at the tokens that are counted.
  size_t RestBar(const RestTolerance& tolerance) const;
  // The least bar that leaves no more than this share of all weight to the rest.
  //
  // Requires: 0 < share < 1.
  // Cost: one pass over the groups, and a look at the tokens that may lie above the bar.
  size_t MassBar(double share) const;
  // Appends the places of tokens above the bar, plus `first`: places count from the first token of
  // the first group.
  void ListHeavy(size_t bar, uint32_t first, std::vector<uint32_t>& tokens) const;

  // Takes tokens, by their places, out of the rest.
  void LeaveOut(std::span<const uint32_t> places);

  // Weight of each group's rest, relative to that of one score for all.
  std::span<const float> group_weights() const { return added().weights; }
  // ln of the sum of exp(scale * score) over the rest: the errors of approximate scores
  // inflate the mean of their exponentials, which is taken back here. -inf if nothing
  // is left.
  double log_sum_exp() const;
  // ln of what a weight of 1 stands for; -inf before any score.
  double LogOfWeightOne() const;

 private:
  using StepCounts = std::array<uint32_t, kStepCount>;

  void RaiseReference(float top);
  // Whole groups.
  void AddGroups(std::span<const float> scores);
  // A part of a group, from its token `place` on.
  void AddPart(std::span<const float> scores, size_t place);
  GroupSums added() const { return groups_.subspan(0, added_groups_); }
  // A bar that keeps the sum of squares of the rest within the budget, as the groups' sums show.
  size_t SureSquareBar(double budget) const;
  // One that likely does, and is nearer to the least one, by a sample.
  size_t SampledSquareBar(double budget, size_t bar_max) const;

  const float scale_;
  const size_t first_place_;
  const GroupSums groups_;
  double deviation_ = 0;
  size_t added_groups_ = 0;
  // The score whose weight is 1: at least every score, and a whole power of two away from
  // every other one that there was, so that weights keep their digits.
  float reference_ = -std::numeric_limits<float>::infinity();
  double reference_octaves_ = 0;  // the power
  WeightTotals totals_;           // before any token was left out
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_REST_ESTIMATE_H_
