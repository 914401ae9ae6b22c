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

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "index/kernels/group_weights.h"

namespace alaya {

// Approximate scores of the consecutive tokens that one query sees.
struct ApproximateScores {
  std::span<const float> scores;  // unscaled; [token_count], not empty; written by and by
  size_t first_group_tokens = 0;  // as in GroupWeights: where the first group ends
  float scale = 1;                // from score to logit, > 0
};

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

// Life: construction -> Add while scores are written -> RestBar -> LeaveOut of all
// tokens that are attended -> the rest's group weights and log_sum_exp.
class RestEstimate {
 public:
  // The scores and `groups` (one each per group) must outlive this.
  RestEstimate(const ApproximateScores& scores, GroupSums groups);

  // The next `count` scores are written, and none of them is above `top`. All but the last
  // ones end where a group ends.
  void Add(size_t count, float top);
  // Forgets what was added: scores have changed.
  void Clear();
  // The standard deviation of the scores' errors, once it is known.
  void set_deviation(double deviation) { deviation_ = deviation; }

  // The bar in approximate scores: tokens at or above it have to be attended.
  // Cost: one pass over the groups, and the candidates' histogram.
  float RestBar(const RestTolerance& tolerance);
  // The highest bar, to within an eighth of a nat, below which scores together have no more than
  // this share of all weight.
  //
  // Requires: 0 < share < 1.
  // Cost: one pass over the groups, and those scores that may reach it.
  float MassBar(double share);
  // Appends the places of scores at or above the bar, plus first_token. Cost: little for a bar that
  // was found last.
  void ListFrom(float bar, uint32_t first_token, std::vector<uint32_t>& tokens) const;

  // Takes tokens (by their places in the scores) out of the rest.
  void LeaveOut(std::span<const uint32_t> tokens);

  // Weight of each group's rest, relative to that of one score for all.
  std::span<const float> group_weights() const { return groups_.weights; }
  // ln of the sum of exp(scale * score) over the rest: the errors of approximate scores
  // inflate the mean of their exponentials, which is taken back here. -inf if nothing
  // is left.
  double log_sum_exp() const;
  // ln of what a weight of 1 stands for; -inf before any score.
  double LogOfWeightOne() const;

 private:
  void RaiseReference(float top);
  // A weight below which all others together have a sum of squares within the budget; 0: none
  // found.
  double LeastWeight(double budget) const;
  // Calls use(places, scores) with scores at or above the bar, by rising place.
  template <class Use>
  void ForScoresFrom(float bar, const Use& use) const;
  // Keeps those scores.
  void LookFrom(float bar);
  float ScoreOfWeight(double weight) const;
  // The highest bar, in steps, below which the amounts of weights have no more than `allowed` of
  // their total, where `scores` are all at or above `least_score`; none if less than all above it
  // must be taken out.
  template <class Amount>
  std::optional<float> BarAmong(std::span<const float> scores, float least_score, double allowed,
                                double total, const Amount& amount) const;
  // The same among all scores. Looks at no weight below the least one.
  template <class Amount>
  float BarWhere(double allowed, double total, double least_weight, const Amount& amount);
  // A bar for squares of weights that is likely low enough, by a sample.
  std::optional<float> SampledSquareBar(double budget, float least_score) const;

  const ApproximateScores scores_;
  const GroupSums groups_;
  double deviation_ = 0;
  size_t added_ = 0;  // scores, groups
  size_t added_groups_ = 0;
  // The score whose weight is 1: at least every score, and a whole power of two away from
  // every other one that there was, so that weights keep their digits.
  float reference_ = -std::numeric_limits<float>::infinity();
  WeightTotals totals_;  // before any token was left out
  // Scores at or above looked_from_, by rising place: what finding a bar looked at.
  float looked_from_ = std::numeric_limits<float>::infinity();
  std::vector<uint32_t> looked_places_;
  std::vector<float> looked_scores_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_REST_ESTIMATE_H_
