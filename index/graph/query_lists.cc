#include "index/graph/query_lists.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "index/exact_index.h"
#include "index/kernels/encoding.h"

namespace alaya {
namespace {

// Queries that share one pass over the keys: keys come from memory once for them, and
// their scores of a block stay in the second-level cache.
constexpr size_t kPassQueries = 32;
// Passes between two calls of progress.
constexpr size_t kPassesAtOnce = 16;

// The `width` best tokens of every query, by falling score.
StatusOr<SearchResult> FindBest(const KvReader& reader, MatrixView<const float> queries,
                                TokenRange targets, size_t width) {
  const std::vector<TokenRange> visible(queries.rows(), targets);
  SearchRequest request;
  request.queries = queries;
  request.visible = visible;
  request.target = TopKTarget{width};
  ALAYA_ASSIGN_OR_RETURN(SearchResult result, ExactIndex(&reader).Search(request));
  for (QueryCandidates& query : result.queries) {
    std::ranges::stable_sort(query.tokens, std::greater(), &ScoredToken::score);
  }
  return result;
}

Status FindLists(const KvReader& reader, MatrixView<const float> queries, TokenRange targets,
                 size_t first_query, QueryLists* lists) {
  ALAYA_ASSIGN_OR_RETURN(const SearchResult result,
                         FindBest(reader, queries, targets, lists->width()));
  for (size_t i = 0; i < queries.rows(); ++i) {
    std::ranges::transform(result.queries[i].tokens, lists->list(first_query + i).begin(),
                           &ScoredToken::token);
  }
  return OkStatus();
}

// Lists that are checked, of a call's: whatever is systematically wrong shows in them, for a
// fraction of the work.
constexpr size_t kCheckedLists = 16;
// Tokens that roundings may bring into a list which ends among nearly equal scores.
constexpr size_t kSpareTokens = 64;

StatusOr<double> LongestKey(const KvReader& reader) {
  double square_max = 0;
  std::vector<float> key(reader.head_dim());
  for (size_t b = 0; b < reader.block_count(); ++b) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block, reader.ReadBlock(KvKind::kKey, b));
    for (size_t i = 0; i < block.rows.rows; ++i) {
      DecodeElements(block.rows.dtype, {block.rows.row(i), block.rows.row_bytes()}, key);
      double square = 0;
      for (const float element : key) square += double{element} * double{element};
      square_max = std::max(square_max, square);
    }
  }
  return std::sqrt(square_max);
}

double Length(std::span<const float> vector) {
  double square = 0;
  for (const float element : vector) square += double{element} * double{element};
  return std::sqrt(square);
}

// Is `list` what was found, but for scores that differ by no more than `rounding`?
bool IsRight(std::span<const uint32_t> list, const std::vector<ScoredToken>& found,
             double rounding) {
  std::vector<uint32_t> distinct(list.begin(), list.end());
  std::ranges::sort(distinct);
  if (std::ranges::adjacent_find(distinct) != distinct.end()) return false;
  for (size_t rank = 0; rank < list.size(); ++rank) {
    if (list[rank] == found[rank].token) continue;
    const auto same = std::ranges::find(found, list[rank], &ScoredToken::token);
    if (same == found.end()) return false;
    if (std::fabs(double{same->score} - double{found[rank].score}) > rounding) return false;
  }
  return true;
}

// What is wrong with the lists, as far as a sample shows; empty: nothing.
StatusOr<std::string> CheckLists(const KvReader& reader, MatrixView<const float> queries,
                                 TokenRange targets, const QueryLists& lists) {
  for (size_t q = 0; q < lists.query_count(); ++q) {
    for (const uint32_t token : lists.list(q)) {
      if (token >= targets.begin && token < targets.end) continue;
      return "nearest keys of query " + std::to_string(q) + ": there is no token " +
             std::to_string(token);
    }
  }
  ALAYA_ASSIGN_OR_RETURN(const double longest, LongestKey(reader));
  const size_t count = std::min(kCheckedLists, queries.rows());
  const size_t width = std::min<size_t>(lists.width() + kSpareTokens, targets.size());
  for (size_t i = 0; i < count; ++i) {
    // Of the first and the last query and between: a group that is left out shows.
    const size_t q = count == 1 ? 0 : i * (queries.rows() - 1) / (count - 1);
    ALAYA_ASSIGN_OR_RETURN(const SearchResult result,
                           FindBest(reader, queries.rows_range(q, 1), targets, width));
    // Two sums of head_dim products in float, in any order.
    const double rounding =
        4 * static_cast<double>(reader.head_dim()) * 0x1p-24 * Length(queries.row(q)) * longest;
    if (IsRight(lists.list(q), result.queries[0].tokens, rounding)) continue;
    return "nearest keys of query " + std::to_string(q) + ": others have higher scores";
  }
  return std::string();
}

// True: `lists` are found.
StatusOr<bool> FindElsewhere(const KvReader& reader, MatrixView<const float> queries,
                             TokenRange targets, NearestKeyFinder* finder, BuildProgress* progress,
                             QueryLists* lists) {
  NearestKeyQuery query;
  query.keys = &reader;
  query.queries = queries;
  query.first_token = static_cast<uint32_t>(targets.begin);
  query.should_stop = [progress] { return progress->should_stop(); };
  ALAYA_ASSIGN_OR_RETURN(const bool is_found, finder->Find(query, lists->lists()));
  if (!is_found) return false;
  ALAYA_ASSIGN_OR_RETURN(const std::string wrong, CheckLists(reader, queries, targets, *lists));
  if (!wrong.empty()) finder->GiveUp(Internal(wrong));
  return wrong.empty();
}

}  // namespace

StatusOr<QueryLists> FindQueryLists(const KvReader& reader, MatrixView<const float> queries,
                                    const GraphBuildOptions& options, BuildProgress& progress) {
  const TokenRange targets = {options.first_token, reader.token_count()};
  QueryLists lists(queries.rows(), std::min<size_t>(options.query_neighbors, targets.size()));
  if (options.nearest_keys != nullptr && queries.rows() > 0 && lists.width() > 0) {
    ALAYA_ASSIGN_OR_RETURN(
        const bool is_found,
        FindElsewhere(reader, queries, targets, options.nearest_keys, &progress, &lists));
    if (is_found) return lists;
  }
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
