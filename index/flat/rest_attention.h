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

#include "index/flat/coarse_rest.h"
#include "index/flat/flat_search.h"
#include "index/flat/marked_keys.h"
#include "index/flat/rest_estimate.h"
#include "index/token_index.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Life: construction -> AddBlock and AddScores as the scan goes -> SetTolerances ->
// ListHeavy -> LeaveOut of all that is attended -> log_sum_exp, Attend. One thread; one
// search of a thread at a time.
//
// A search that scans coarsely first calls StartCoarse, then Weighing and AddBlock of each block,
// OpenGroups, SettleGroups and BeginOpen, and AddScores as open groups are scanned.
class RestAttention {
 public:
  // Both pointers must outlive this.
  RestAttention(const FlatSource* source, const SearchRequest* request,
                std::span<const RestQuery> queries);

  void StartCoarse();
  // What the coarse scan of a block, `tokens`, writes; `bests`: for each query a score about as
  // high as any. Valid until the next call.
  std::span<const CoarseWeighing> Weighing(TokenRange tokens, std::span<const float> bests);
  // Opens those groups that were scanned coarsely and have marks, or weights that matter. False:
  // they are so many that a fine scan of all is cheaper.
  bool OpenGroups(TokenMarks& marks);
  // No more will be opened. Returns them, by rising number.
  std::span<const uint32_t> SettleGroups();
  // Scores of open groups alone are added from now on, in place of those of all groups: their
  // tokens have places one after the other.
  void BeginOpen();
  // Those of `places` that a query sees.
  TokenRange SeenPlaces(size_t query_index, TokenRange places) const;
  // Forgets the coarse scan.
  void ForgetCoarse();

  // A block was scanned. `upcoming` is scanned next, or is empty: its summary is asked for.
  void AddBlock(const FlatBlock& block, const FlatBlock& upcoming);
  // The next covered scores of a query; none of them is above `top`.
  void AddScores(size_t query_index, std::span<const float> scores, float top);
  // Of the codes of the blocks that were scanned, root mean square.
  double error() const;
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
    TokenRange places;                     // of its scores
    std::optional<RestEstimate> estimate;  // none: it has no scores
    size_t bar = 0;                        // Weights above it are attended, whatever the target.

    // The place of the first token of the estimate's first group.
    uint32_t first_place() const {
      return static_cast<uint32_t>(places.begin / kCodeGroupTokens * kCodeGroupTokens);
    }
  };
  // Makes estimates for scores at these places, for each query, of so many groups.
  void MakeEstimates(size_t group_count, std::span<const TokenRange> places);
  // Where the scores are of the tokens that a query sees.
  TokenRange OpenPlaces(TokenRange covered) const;
  uint32_t TokenAt(size_t place) const;
  // Of the errors of fine scores.
  double ScoreDeviation(const Query& query) const;
  double LogOfUnit(size_t query_index) const;
  // Writes the weights of all groups, in the query's unit.
  void WeighGroups(size_t query_index, std::span<float> weights) const;

  const FlatSource& source_;
  const SearchRequest& request_;
  std::vector<Query> queries_;
  std::optional<CoarseRest> coarse_;  // of a search that scans coarsely first
  // Over the blocks that were scanned.
  double coarse_error_square_sum_ = 0;
  double error_square_sum_ = 0;
  size_t error_count_ = 0;
  double deviation_square_sum_ = 0;
  size_t group_count_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_REST_ATTENTION_H_
