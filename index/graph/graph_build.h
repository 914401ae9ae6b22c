// Building the graph of one kv head: RoarGraph, over keys, through sampled queries.
//
// Queries are out of distribution for keys: what is near a query is not what is near
// its best key. So the graph is made of what queries find together:
//
// 1. The nearest keys of every sampled query, exactly, as blocked matrix products.
// 2. Projection (projection.h): keys that the same queries found become neighbours.
// 3. Connectivity (connectivity.h): every key is linked with its nearest ones in the
//    text around it; at last every token is reachable from the entries.
//
// A walk begins at the tokens that anchors forecast (anchor_scores.h), a few sampled
// queries whose scores are kept.
//
// Source: RoarGraph, VLDB 2024, arXiv:2408.08933. There a query's best key gets the
// query's other keys as neighbours, pruned by distance. Measured on attention, where a
// key is found by queries of many places in the text, that left most keys with
// neighbours that few of their queries want: stage 2 differs.

#ifndef ALAYA_INDEX_GRAPH_GRAPH_BUILD_H_
#define ALAYA_INDEX_GRAPH_GRAPH_BUILD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "index/graph/anchor_scores.h"
#include "index/graph/nearest_key_finder.h"
#include "index/kv_reader.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct GraphBuildOptions {
  // Tokens [0, first_token) are no targets: every sequence attends to its sink anyway,
  // and it would be in the answer of every query. They are searched without the graph.
  size_t first_token = 128;
  // Queries used: as many as this share of the tokens, but at most sample_count_max;
  // the cost of stage 1 is their number times the tokens.
  double sample_share = 0.4;  // in (0, 1]
  size_t sample_count_max = 4096;
  size_t query_neighbors = 64;  // tokens found per query, at least 1
  // Tokens that some query found among its first so many get sponsors (projection.h):
  // up to sponsor_count, each for up to degree_max tokens. At least 1 each.
  size_t sponsored_rank = 24;
  size_t sponsor_count = 8;
  size_t degree_max = 8;  // at most 256
  // Each token is linked with up to link_count of the nearest keys among those of
  // link_window tokens on either side of it. At least 1 each.
  size_t link_count = 8;  // at most 256
  size_t link_window = 64;
  // Sampled queries whose scores of their best anchor_tokens are kept; an eighth of the
  // tokens if that is less. At most 256; 0: none.
  size_t anchor_count = 160;
  size_t anchor_tokens = 6144;  // at least 1
  size_t entry_tokens = 512;    // one entry for so many tokens or more, at least 1
  // Asked first for stage 1; may be null. What it finds is checked by samples. Its roundings
  // may let tokens of nearly equal scores change places.
  NearestKeyFinder* nearest_keys = nullptr;
  // Runs function(i) for i in [0, count), at the same time if it likes; returns when
  // all are done. Unset: one after the other. The result is the same.
  std::function<void(size_t count, const std::function<void(size_t)>& function)> parallel_for;
  // Asked every few milliseconds by every thread that builds; true ends the build. May
  // sleep. May be unset, as the next.
  std::function<bool()> should_stop;
  // Told the share of the work that is done, by the thread that called.
  std::function<void(double share_done)> progress;
};

inline constexpr size_t kGraphEntriesMax = 8192;
inline constexpr size_t kGraphDegreeMax = 1024;

// Neighbours of every token, as built.
struct KeyGraph {
  size_t first_token = 0;  // tokens before have no neighbours and are nobody's
  std::vector<std::vector<uint32_t>> neighbors;  // [token_count], at most kGraphDegreeMax each
  std::vector<uint32_t> entries;                 // rising, at most kGraphEntriesMax
  AnchorScores anchors;
};

// `queries` [query_count, head_dim]: sampled queries of all query heads of the group,
// unscaled, by rising position in the text, the heads of one position together. Of
// more than are used the later ones are preferred: the queries to come are most like
// them. If there are none the keys themselves, less their mean, stand for them: the
// graph then knows what keys are alike but not what is asked and has no anchors, and
// recall is lower.
//
// Guarantees: every token from first_token on can be reached from the entries. The
//   same input gives the same graph, whatever parallel_for does.
// Memory: the keys once more, and about query_count * query_neighbors * 16 bytes.
// Errors: InvalidArgument if options are outside their limits; Cancelled; what
//   `reader` returns.
StatusOr<KeyGraph> BuildKeyGraph(const KvReader& reader, MatrixView<const float> queries,
                                 const GraphBuildOptions& options);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_GRAPH_BUILD_H_
