// What each sampled query finds: the edges between queries and keys that a graph is
// projected from.

#ifndef ALAYA_INDEX_GRAPH_QUERY_LISTS_H_
#define ALAYA_INDEX_GRAPH_QUERY_LISTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/graph/build_progress.h"
#include "index/graph/graph_build.h"
#include "index/kv_reader.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// The same number of tokens per query, by falling score.
class QueryLists {
 public:
  QueryLists() = default;
  QueryLists(size_t query_count, size_t width) : width_(width), tokens_(query_count * width) {}

  size_t query_count() const { return width_ == 0 ? 0 : tokens_.size() / width_; }
  size_t width() const { return width_; }
  std::span<uint32_t> list(size_t query) { return {&tokens_[query * width_], width_}; }
  MatrixView<uint32_t> lists() { return {tokens_.data(), query_count(), width_}; }
  std::span<const uint32_t> list(size_t query) const { return {&tokens_[query * width_], width_}; }

 private:
  size_t width_ = 0;
  std::vector<uint32_t> tokens_;
};

// The min(options.query_neighbors, tokens) best tokens from options.first_token on, of every query.
//
// What options.nearest_keys finds is believed if every token is one, and a sample of the lists
// is right; otherwise it is told to give up, and the CPU finds all.
//
// Cost: query_count * token_count * head_dim multiplications, or of the sample.
StatusOr<QueryLists> FindQueryLists(const KvReader& reader, MatrixView<const float> queries,
                                    const GraphBuildOptions& options, BuildProgress& progress);

// For every token the queries that found it among their first rank_end.
class QueriesOfTokens {
 public:
  QueriesOfTokens(const QueryLists& lists, size_t rank_end, size_t token_count);

  // By rising number.
  std::span<const uint32_t> queries(uint32_t token) const {
    return std::span(queries_).subspan(begins_[token], begins_[token + 1] - begins_[token]);
  }

 private:
  std::vector<size_t> begins_;  // [token_count + 1]
  std::vector<uint32_t> queries_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_QUERY_LISTS_H_
