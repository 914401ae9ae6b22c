#include "index/sequence_search.h"

#include <algorithm>
#include <limits>
#include <variant>

#include "index/part_search.h"

namespace alaya {
namespace {

// One query's tokens of the target, best first.
std::vector<SequenceToken> Collect(const PartSearchTask& task, const PartSearch& found,
                                   size_t query_index, float best_score) {
  const Selection selection = Select(task, found, query_index, best_score);
  std::vector<SequenceToken> chosen;
  for (size_t p = 0; p < task.parts.size(); ++p) {
    if (found.parts[p].queries.empty()) continue;
    for (const ScoredToken& candidate : found.parts[p].queries[query_index].tokens) {
      const SequenceToken token = {task.parts[p].token_begin + candidate.token, candidate.score};
      if (selection.takes(token)) chosen.push_back(token);
    }
  }
  std::ranges::sort(chosen, RanksBefore<SequenceToken>);
  return chosen;
}

}  // namespace

StatusOr<SequenceSearchResult> SearchSequence(const SequenceSearchTask& task) {
  if (std::holds_alternative<FullTarget>(task.target)) {
    return InvalidArgument("a search needs a target other than full: dipr, top_k or mass");
  }
  SequenceSearchResult result;
  const size_t count = task.queries.rows();
  const size_t slab_queries = SearchSlabQueries(task.visible);
  for (size_t begin = 0; begin < count; begin += slab_queries) {
    PartSearchTask slab;
    const size_t slab_count = std::min(slab_queries, count - begin);
    slab.queries = task.queries.rows_range(begin, slab_count);
    slab.visible = task.visible.subspan(begin, slab_count);
    slab.parts = task.parts;
    slab.target = task.target;
    slab.scale = task.scale;
    slab.scan_unindexed = true;
    slab.want_mass = std::holds_alternative<MassTarget>(task.target);
    std::vector<float> best_scores(slab_count, -std::numeric_limits<float>::infinity());
    ALAYA_ASSIGN_OR_RETURN(const PartSearch found, SearchParts(slab, best_scores));
    result.tokens_scored += found.tokens_scored;
    for (size_t i = 0; i < slab_count; ++i) {
      result.queries.push_back(Collect(slab, found, i, best_scores[i]));
    }
  }
  return result;
}

}  // namespace alaya
