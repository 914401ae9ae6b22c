// Which groups of tokens must be scored finely, where the rest is estimated.
//
// From its coarse score, off by a nat or more, a token's weight is right only on average. What it
// misses adds up like independent noise, to the root of the sum of squared weights, so it is
// little where weights are. A group in which it matters, for any query, is opened: scored by both
// planes of the codes. The others count with the weights that the coarse scan gave them: most of
// the text, for half of its bytes.

#ifndef ALAYA_INDEX_FLAT_COARSE_REST_H_
#define ALAYA_INDEX_FLAT_COARSE_REST_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/kernels/code_scores.h"
#include "storage/types/ids.h"

namespace alaya {

// What is known of a query whose rest is estimated.
struct RestQuery {
  TokenRange covered;  // the coded tokens that it sees
  double length = 0;
  double coarse_deviation = 0;  // of its coarse scores, for each unit of a token's coarse error
};

// Life: construction -> Weighing of each block that is scanned, by rising tokens -> Open ->
// weights.
class CoarseRest {
 public:
  // Of an index of so many tokens. `scale`: from score to logit, > 0.
  CoarseRest(size_t token_count, float scale, std::span<const RestQuery> queries);

  // What the scan of a block, `tokens`, writes. `bests`: for each query a score about as high as
  // any; the one of the first block that the query sees counts. Valid until the next call.
  std::span<const CoarseWeighing> Weighing(TokenRange tokens, std::span<const float> bests);

  // Opens, of the groups that were scanned, those of which a query sees a part only, and those with
  // the largest squared weights, so that the others' come to no more than
  //     share^2 * (attended + sum of all squared weights)
  // together. `attended`, as the sum, is in units of squared weight. `error`: root mean square of
  // the coarse errors.
  void Open(size_t query_index, double share, double attended, double error);
  void OpenGroup(size_t group) { is_open_[group] = 1; }
  size_t open_count() const;
  // Those before the end of the last block that was scanned.
  size_t scanned_groups() const { return scanned_groups_; }

  // No more groups are opened: what follows is known.
  void Settle();
  std::span<const uint32_t> open_groups() const { return open_groups_; }  // by rising number
  // Of each group: 0 where it is open, or the query sees nothing of it.
  std::span<const float> weights(size_t query_index) const;
  double weight_sum(size_t query_index) const { return queries_[query_index].weight_sum; }
  // ln of what a weight of 1 stands for.
  double LogOfWeightOne(size_t query_index) const;

 private:
  struct Query {
    RestQuery facts;
    float error_nats = 0;
    float top = 0;
    bool has_top = false;
    double weight_sum = 0;
  };

  const float scale_;
  const size_t group_count_;
  size_t scanned_groups_ = 0;
  std::vector<Query> queries_;
  std::span<float> weights_;  // [query_count, group_count]
  std::span<float> square_sums_;
  std::vector<uint8_t> is_open_;  // [group_count]
  std::vector<uint32_t> open_groups_;
  std::vector<CoarseWeighing> weighing_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_COARSE_REST_H_
