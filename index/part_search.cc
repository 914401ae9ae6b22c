#include "index/part_search.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <type_traits>
#include <variant>

#include "index/attention/attention_merge.h"
#include "index/dipr/dipr_selection.h"
#include "index/exact_index.h"
#include "index/mass/mass_selection.h"
#include "index/scratch_buffer.h"
#include "index/topk/top_k_selection.h"

namespace alaya {
namespace {

constexpr size_t kSlabCandidateBytes = size_t{64} << 20;
constexpr size_t kSlabQueriesMin = 4;  // what one pass of the kernels serves
constexpr size_t kSlabQueriesMax = 64;

StatusOr<SearchResult> SearchPart(const PartSearchTask& task, const SequencePart& part,
                                  std::span<float> best_scores) {
  if (part.index == nullptr && !task.scan_unindexed) return SearchResult();
  std::vector<TokenRange> visible(task.visible.size());
  std::ranges::transform(task.visible, visible.begin(),
                         [&](TokenRange range) { return InPart(range, part); });
  if (std::ranges::all_of(visible, &TokenRange::empty)) return SearchResult();

  SearchRequest request;
  request.queries = task.queries;
  request.visible = visible;
  request.target = task.target;
  request.scale = task.scale;
  request.best_scores = best_scores;
  request.want_mass = task.want_mass;
  const auto* dipr = std::get_if<DiprTarget>(&task.target);
  request.sound = dipr == nullptr || dipr->sound;
  request.estimate_rest = task.estimate_rest;
  request.rest_error = task.rest_error;
  request.attended = task.attended;
  const ExactIndex scan(part.reader);
  const TokenIndex& index = part.index == nullptr ? scan : *part.index;
  ALAYA_ASSIGN_OR_RETURN(SearchResult result, index.Search(request));
  for (size_t i = 0; i < best_scores.size(); ++i) {
    best_scores[i] = std::max(best_scores[i], result.queries[i].best_score);
  }
  return result;
}

// All candidates of one query, with their positions in the sequence.
std::span<SequenceToken> Candidates(const PartSearchTask& task, const PartSearch& found,
                                    size_t query_index) {
  size_t count = 0;
  for (const SearchResult& part : found.parts) {
    if (!part.queries.empty()) count += part.queries[query_index].tokens.size();
  }
  thread_local ScratchBuffer<SequenceToken> buffer;
  const std::span<SequenceToken> candidates = buffer.Take(count);
  size_t filled = 0;
  for (size_t p = 0; p < found.parts.size(); ++p) {
    if (found.parts[p].queries.empty()) continue;
    for (const ScoredToken& token : found.parts[p].queries[query_index].tokens) {
      candidates[filled++] = {task.parts[p].token_begin + token.token, token.score};
    }
  }
  return candidates;
}

}  // namespace

double PartSearch::log_sum_exp(size_t query_index) const {
  double sum = -std::numeric_limits<double>::infinity();
  for (const SearchResult& part : parts) {
    if (!part.queries.empty()) sum = MergeLogSumExp(sum, part.queries[query_index].log_sum_exp);
  }
  return sum;
}

StatusOr<PartSearch> SearchParts(const PartSearchTask& task, std::span<float> best_scores) {
  assert(best_scores.size() == task.queries.rows());
  PartSearch found;
  for (const SequencePart& part : task.parts) {
    const uint64_t begin_ns = task.now_ns == nullptr ? 0 : task.now_ns();
    ALAYA_ASSIGN_OR_RETURN(SearchResult result, SearchPart(task, part, best_scores));
    found.tokens_scored += result.tokens_scored;
    found.parts.push_back(std::move(result));
    found.part_ns.push_back(task.now_ns == nullptr ? 0 : task.now_ns() - begin_ns);
  }
  return found;
}

Selection Select(const PartSearchTask& task, const PartSearch& found, size_t query_index,
                 float best_score) {
  if (const auto* dipr = std::get_if<DiprTarget>(&task.target)) {
    return SelectDipr(best_score, dipr->beta(double{task.scale}));
  }
  const std::span<SequenceToken> candidates = Candidates(task, found, query_index);
  if (const auto* top_k = std::get_if<TopKTarget>(&task.target)) {
    return SelectTopK(candidates, top_k->k);
  }
  if (const auto* mass = std::get_if<MassTarget>(&task.target)) {
    return SelectMass(candidates, mass->fraction, found.log_sum_exp(query_index),
                      double{task.scale});
  }
  return {};
}

TokenRange InPart(TokenRange range, const SequencePart& part) {
  const TokenRange seen = Intersect(range, part.range());
  if (seen.empty()) return {};
  return {seen.begin - part.token_begin, seen.end - part.token_begin};
}

size_t SearchSlabQueries(std::span<const TokenRange> visible) {
  uint64_t most = 1;
  for (const TokenRange& range : visible) most = std::max(most, range.size());
  return std::clamp<size_t>(kSlabCandidateBytes / sizeof(ScoredToken) / most, kSlabQueriesMin,
                            kSlabQueriesMax);
}

}  // namespace alaya
