#include "index/graph/query_lists.h"

#include <algorithm>
#include <functional>

#include "index/exact_index.h"

namespace alaya {
namespace {

// Queries that share one pass over the keys: keys come from memory once for them, and
// their scores of a block stay in the second-level cache.
constexpr size_t kPassQueries = 32;
// Passes between two calls of progress.
constexpr size_t kPassesAtOnce = 16;

Status FindLists(const KvReader& reader, MatrixView<const float> queries, TokenRange targets,
                 size_t first_query, QueryLists* lists) {
  const std::vector<TokenRange> visible(queries.rows(), targets);
  SearchRequest request;
  request.queries = queries;
  request.visible = visible;
  request.target = TopKTarget{lists->width()};
  ALAYA_ASSIGN_OR_RETURN(SearchResult result, ExactIndex(&reader).Search(request));
  for (size_t i = 0; i < queries.rows(); ++i) {
    std::vector<ScoredToken>& tokens = result.queries[i].tokens;
    std::ranges::stable_sort(tokens, std::greater(), &ScoredToken::score);
    std::ranges::transform(tokens, lists->list(first_query + i).begin(), &ScoredToken::token);
  }
  return OkStatus();
}

}  // namespace

StatusOr<QueryLists> FindQueryLists(const KvReader& reader, MatrixView<const float> queries,
                                    const GraphBuildOptions& options, BuildProgress& progress) {
  const TokenRange targets = {options.first_token, reader.token_count()};
  QueryLists lists(queries.rows(), std::min<size_t>(options.query_neighbors, targets.size()));
  const size_t pass_count = (queries.rows() + kPassQueries - 1) / kPassQueries;
  for (size_t first = 0; first < pass_count; first += kPassesAtOnce) {
    progress.Report(first, pass_count);
    const size_t count = std::min(kPassesAtOnce, pass_count - first);
    std::vector<Status> statuses(count);
    options.parallel_for(count, [&](size_t i) {
      if (progress.should_stop()) return;
      const size_t query = (first + i) * kPassQueries;
      const size_t query_count = std::min(kPassQueries, queries.rows() - query);
      statuses[i] =
          FindLists(reader, queries.rows_range(query, query_count), targets, query, &lists);
    });
    for (const Status& status : statuses) ALAYA_RETURN_IF_ERROR(status);
    ALAYA_RETURN_IF_ERROR(progress.Stopped());
  }
  return lists;
}

QueriesOfTokens::QueriesOfTokens(const QueryLists& lists, size_t rank_end, size_t token_count)
    : begins_(token_count + 1) {
  const size_t width = std::min(rank_end, lists.width());
  queries_.resize(lists.query_count() * width);
  for (size_t q = 0; q < lists.query_count(); ++q) {
    for (const uint32_t token : lists.list(q).first(width)) ++begins_[token + 1];
  }
  for (size_t t = 0; t < token_count; ++t) begins_[t + 1] += begins_[t];
  std::vector<size_t> ends(begins_.begin(), begins_.end() - 1);
  for (size_t q = 0; q < lists.query_count(); ++q) {
    for (const uint32_t token : lists.list(q).first(width))
      queries_[ends[token]++] = static_cast<uint32_t>(q);
  }
}

}  // namespace alaya
