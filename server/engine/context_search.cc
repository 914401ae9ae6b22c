#include "server/engine/context_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "index/sequence_search.h"
#include "server/engine/attend_checks.h"
#include "server/engine/attention_fan_out.h"
#include "server/engine/quota_error.h"
#include "server/engine/request_checks.h"
#include "server/engine/sequence_view.h"
#include "server/engine/tensor_checks.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

// A low bar makes every token a hit of every query: the answer's memory is bounded.
constexpr size_t kHitCountMax = size_t{1} << 24;

// Positions [begin, end) of the query.
struct Positions {
  size_t begin = 0;
  size_t end = 0;
  size_t count() const { return end - begin; }
};

Status CheckSearch(const SearchParams& params, const Model& model, const EngineLimits& limits) {
  ALAYA_RETURN_IF_ERROR(CheckLayer(params.layer, model));
  ALAYA_RETURN_IF_ERROR(CheckTokenRange(params.token_range));
  ALAYA_RETURN_IF_ERROR(CheckScale(params.scale));
  if (!std::holds_alternative<DiprTarget>(params.target) &&
      !std::holds_alternative<TopKTarget>(params.target)) {
    return InvalidArgument("target: must be dipr or top_k");
  }
  ALAYA_RETURN_IF_ERROR(CheckTarget(params.target));
  return CheckQuery("query", params.query, model, limits.max_queries_per_item);
}

// One search: what all heads share.
struct Search {
  const SearchParams& params;
  const Model& model;
  const SequenceView& sequence;
  TokenRange visible;
};

Target Sound(Target target) {
  if (auto* dipr = std::get_if<DiprTarget>(&target)) dipr->sound = true;
  return target;
}

StatusOr<SequenceSearchResult> SearchHead(const Search& search, Positions positions,
                                          KvHeadIndex head) {
  const std::vector<float> queries =
      GroupQueries(search.params.query, search.model, head, positions.begin, positions.count());
  const size_t row_count = positions.count() * search.model.group_size();
  const std::vector<TokenRange> visible(row_count, search.visible);
  SequenceSearchTask task;
  task.queries = {queries.data(), row_count, search.model.head_dim};
  task.visible = visible;
  task.parts = search.sequence.parts(head);
  task.target = Sound(search.params.target);
  task.scale = ScaleOrDefault(search.params.scale, search.model);
  return SearchSequence(task);
}

// Returns how many hits there were.
size_t FillHits(const Search& search, Positions positions, KvHeadIndex head,
                const SequenceSearchResult& found, SearchAnswer* answer) {
  const size_t group_size = search.model.group_size();
  size_t hit_count = 0;
  for (size_t row = 0; row < found.queries.size(); ++row) {
    const size_t position = positions.begin + row / group_size;
    const size_t query_head = ToInt(head) * group_size + row % group_size;
    std::vector<SearchHit>& hits =
        answer->heads[position * search.model.num_query_heads + query_head];
    hits.reserve(found.queries[row].size());
    for (const SequenceToken& token : found.queries[row]) {
      hits.push_back({token.token, token.score});
    }
    hit_count += hits.size();
  }
  answer->stats.tokens_scored += found.tokens_scored;
  return hit_count;
}

Status RunSearch(const Search& search, WorkerPool* pool, SearchAnswer* answer) {
  const uint32_t kv_head_count = search.model.num_kv_heads;
  const size_t position_count = search.params.query.tokens;
  const size_t hits_per_position_max =
      std::max<size_t>(1, search.visible.size() * search.model.num_query_heads);
  const size_t batch = std::max<size_t>(1, kHitCountMax / hits_per_position_max);
  size_t hit_count = 0;
  for (size_t begin = 0; begin < position_count; begin += batch) {
    const Positions positions{begin, std::min(begin + batch, position_count)};
    std::vector<StatusOr<SequenceSearchResult>> found(kv_head_count);
    pool->ParallelFor(kv_head_count, [&](size_t head) {
      found[head] = SearchHead(search, positions, KvHeadIndex{static_cast<uint32_t>(head)});
    });
    for (uint32_t head = 0; head < kv_head_count; ++head) {
      if (!found[head].ok()) return found[head].status();
      hit_count += FillHits(search, positions, KvHeadIndex{head}, *found[head], answer);
    }
    if (hit_count > kHitCountMax && positions.end < position_count) {
      return QuotaError(
          {.subject = "request",
           .description = fmt::format("{} hits for the first {} of {} query tokens, at most {} are "
                                      "returned: send fewer queries or a narrower target",
                                      hit_count, positions.end, position_count, kHitCountMax)});
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<SearchAnswer> SearchStoredContext(const SearchMeans& means, const EngineLimits& limits,
                                           const StoredContext& context,
                                           const SearchParams& params) {
  const auto begin = steady_clock::now();
  const Model& model = context.model->model;
  ALAYA_RETURN_IF_ERROR(CheckSearch(params, model, limits));
  TokenRange visible{0, context.token_count()};
  if (params.token_range) visible = Intersect(visible, *params.token_range);
  if (visible.empty()) visible = {};

  SequenceView sequence({.store = means.store,
                         .indexes = means.indexes,
                         .model = &model,
                         .chain = &context.chain,
                         .layer = params.layer},
                        visible);
  for (size_t i = 0; i < sequence.segment_count(); ++i) {
    if (sequence.available(i).contains(IndexKind::kFlat)) sequence.Choose(i, IndexKind::kFlat);
  }
  SearchAnswer answer;
  answer.heads.resize(params.query.tokens * model.num_query_heads);
  ALAYA_RETURN_IF_ERROR(RunSearch({params, model, sequence, visible}, means.pool, &answer));
  for (size_t i = 0; i < sequence.segment_count(); ++i) {
    PlanReport& plan = answer.stats.plans.emplace_back();
    plan.tokens = sequence.segment_tokens(i);
    if (sequence.available(i).contains(IndexKind::kFlat)) plan.index = IndexKind::kFlat;
    plan.tier = sequence.tier(i);
    answer.stats.tier = std::max(answer.stats.tier, *plan.tier);
  }
  answer.stats.engine_us =
      std::chrono::duration<double, std::micro>(steady_clock::now() - begin).count();
  answer.stats.search_us = answer.stats.engine_us;
  return answer;
}

}  // namespace alaya
