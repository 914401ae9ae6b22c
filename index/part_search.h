// Searching the parts of a sequence, and the choice that only their sum allows.
// Shared by sequence search and sparse attention.

#ifndef ALAYA_INDEX_PART_SEARCH_H_
#define ALAYA_INDEX_PART_SEARCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "index/selection.h"
#include "index/sequence_part.h"
#include "index/target.h"
#include "index/token_index.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct PartSearchTask {
  MatrixView<const float> queries;      // [query_count, head_dim]
  std::span<const TokenRange> visible;  // [query_count], sequence positions
  std::span<const SequencePart> parts;
  Target target;    // not FullTarget
  float scale = 1;  // from score to logit, > 0
  // Scan parts that have no index; false: leave them out.
  bool scan_unindexed = false;
  bool want_mass = false;
  // As in SearchRequest.
  bool estimate_rest = false;
  double rest_error = 0.01;
  ConstAttentionPart attended;
  uint64_t (*now_ns)() = nullptr;  // as in AttentionTask
};

struct PartSearch {
  // [part_count] what each part found; a part left out has no queries.
  std::vector<SearchResult> parts;
  std::vector<uint64_t> part_ns;  // [part_count]
  uint64_t tokens_scored = 0;     // summed over queries

  // ln sum exp(scale * score) of one query over the searched parts; with want_mass.
  double log_sum_exp(size_t query_index) const;
};

// Searches one part after the other. Each raises best_scores [query_count] (-inf:
// nothing known), so that the next one starts with a higher bar.
StatusOr<PartSearch> SearchParts(const PartSearchTask& task, std::span<float> best_scores);

// Which of one query's candidates belong to the target; best_score is its highest
// over everything that it sees.
Selection Select(const PartSearchTask& task, const PartSearch& found, size_t query_index,
                 float best_score);

// `range` of the sequence as positions in a part that begins at token_begin; empty
// if they do not meet.
TokenRange InPart(TokenRange range, const SequencePart& part);

// Queries whose candidates fit in memory together: a diffuse query may take every
// token that it sees.
size_t SearchSlabQueries(std::span<const TokenRange> visible);

}  // namespace alaya

#endif  // ALAYA_INDEX_PART_SEARCH_H_
