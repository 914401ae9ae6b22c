// Attention to what a search of a flat index leaves out, for all of its queries: gathers
// what the estimate (rest_estimate.h) needs while the codes are scanned, then says which
// tokens are too heavy for it and attends to the others by groups.

#ifndef ALAYA_INDEX_FLAT_REST_ATTENTION_H_
#define ALAYA_INDEX_FLAT_REST_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "index/flat/flat_search.h"
#include "index/flat/rest_estimate.h"
#include "index/token_index.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct RestQuery {
  TokenRange covered;  // the coded tokens that it sees
  double length = 0;
};

// Life: construction -> AddBlock and AddScores as the scan goes -> SetTolerances ->
// ListHeavy -> LeaveOut of all that is attended -> log_sum_exp, Attend. One thread; one
// search of a thread at a time.
class RestAttention {
 public:
  // `scores` are written as the scan goes: [query_count, whole groups of the source]. All
  // arguments must outlive this.
  RestAttention(const FlatSource* source, const SearchRequest* request,
                std::span<const RestQuery> queries, MatrixView<const float> scores);

  // A block was scanned. `upcoming` is scanned next, or is empty: its summary is asked for.
  void AddBlock(const FlatBlock& block, const FlatBlock& upcoming);
  // The next `count` covered scores of a query are written; none of them is above `top`.
  void AddScores(size_t query_index, size_t count, float top);
  // Of the codes of the blocks that were scanned, root mean square.
  double error() const;
  // Scores were corrected, so that none of the query's is above `top`: adds all of them again.
  void AddCorrected(size_t query_index, float top);
  // The scan is over: what errors the scores have, and which weights are too heavy.
  void SetTolerances();

  // Appends the coded tokens that must be attended one by one, by rising number.
  void ListHeavy(size_t query_index, std::vector<uint32_t>& tokens) const;

  // Takes attended tokens out of the rest.
  void LeaveOut(size_t query_index, std::span<const ScoredToken> attended);
  // ln sum exp(scale * score) over the rest.
  double log_sum_exp(size_t query_index) const;
  // Every group's weight on the mean of its values: sets rest_output and
  // rest_log_sum_exp. Errors: whatever a block read returns.
  Status Attend(SearchResult* result) const;

 private:
  struct Query {
    RestQuery facts;
    std::optional<RestEstimate> estimate;  // none: it sees no coded token
    // Approximate scores from here on are attended, whatever the target.
    float bar = std::numeric_limits<float>::infinity();
  };
  // Writes the weights of a block's groups and returns their sum.
  double WeighBlock(const Query& query, size_t first_group, std::span<float> weights) const;

  const FlatSource& source_;
  const SearchRequest& request_;
  const MatrixView<const float> scores_;
  std::vector<Query> queries_;
  // Over the blocks that were scanned.
  double error_square_sum_ = 0;
  size_t error_count_ = 0;
  double deviation_square_sum_ = 0;
  size_t group_count_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_REST_ATTENTION_H_
