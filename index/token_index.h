// An index over the keys of one kv head of one segment, and what it answers.
//
// Every kind (exact, flat, coarse, fine) stands behind this interface. One index
// serves all query heads of the GQA group. It returns candidates and their scores;
// the final choice needs the best score of the whole sequence and is made by the
// caller (index/attention/sparse_attention.h).

#ifndef ALAYA_INDEX_TOKEN_INDEX_H_
#define ALAYA_INDEX_TOKEN_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "index/attention/attention_part.h"
#include "index/target.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// The numbers equal those of the API's IndexKind.
enum class IndexKind : uint8_t { kExact = 1, kFlat = 2, kCoarse = 3, kFine = 4 };

struct ScoredToken {
  uint32_t token = 0;  // position in the segment
  float score = 0;     // inner product, unscaled

  friend bool operator==(const ScoredToken&, const ScoredToken&) = default;
};

struct SearchRequest {
  MatrixView<const float> queries;      // [query_count, head_dim]
  std::span<const TokenRange> visible;  // [query_count], positions in the segment
  Target target;                        // not FullTarget
  float scale = 1;                      // from score to logit, > 0
  // [query_count] best score known from elsewhere in the sequence, -inf if none:
  // lets a search start with a high bar.
  std::span<const float> best_scores;
  // Also sum exp(scale * score) over all visible tokens.
  bool want_mass = false;
  // Only for DIPR. True: no token of the target may be missing. False: a token may be
  // missing with the small probability that the index states.
  bool sound = true;
  // Only for DIPR. Also estimate the attention to what the result leaves out, so well
  // that the error of the whole output is about `rest_error` times its norm. The
  // result then holds more tokens than the target: those whose own weight is too
  // large to be estimated. Indexes that cannot estimate ignore it.
  bool estimate_rest = false;
  double rest_error = 0.01;
  // [query_count] what is attended already, for judging the estimate; may be empty.
  ConstAttentionPart attended;
};

// What one query found in one segment.
struct QueryCandidates {
  // By rising token. Holds every token of the segment that can still belong to the
  // target once the whole sequence is known (as far as the kind promises); it may
  // hold more. Scores are exact.
  std::vector<ScoredToken> tokens;
  // Over all visible tokens of the segment; -inf without any.
  float best_score = -std::numeric_limits<float>::infinity();
  // ln sum exp(scale * score) over all visible tokens, exact or estimated; set if
  // want_mass. -inf without any.
  double log_sum_exp = -std::numeric_limits<double>::infinity();
};

struct SearchResult {
  std::vector<QueryCandidates> queries;  // [query_count]
  uint64_t tokens_scored = 0;            // exact scores computed, summed over queries

  // Estimated attention to the visible tokens that are not in `queries`, in the form
  // that merges (index/attention/attention_part.h); both empty if there is none.
  std::vector<float> rest_output;       // [query_count * head_dim]
  std::vector<float> rest_log_sum_exp;  // [query_count]

  bool has_rest() const { return !rest_log_sum_exp.empty(); }
};

class TokenIndex {
 public:
  virtual ~TokenIndex() = default;

  virtual IndexKind kind() const = 0;

  // Errors: whatever a block read returns.
  // Threads: any number of searches at a time.
  virtual StatusOr<SearchResult> Search(const SearchRequest& request) const = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_TOKEN_INDEX_H_
