// Stage 2: from queries and the keys that they found to a graph of keys alone.
//
// A walk finds a token through its *sponsors*: tokens that have it as a neighbour. It
// must meet one of them for every query that wants the token, so sponsors are chosen
// to stand for as many of its queries as possible, greedily. Sponsors have limited
// room: otherwise the few keys that nearly every query finds would have to lead to
// everything, or, chosen by frequency or nearness alone, would lead to each other only.

#ifndef ALAYA_INDEX_GRAPH_PROJECTION_H_
#define ALAYA_INDEX_GRAPH_PROJECTION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/graph/build_progress.h"
#include "index/graph/graph_build.h"
#include "index/graph/query_lists.h"
#include "storage/types/status.h"

namespace alaya {

// Neighbours of every token, at most options.degree_max. A token that no query found
// among its first options.sponsored_rank is nobody's neighbour.
//
// Errors: Cancelled.
StatusOr<std::vector<std::vector<uint32_t>>> ProjectGraph(const QueryLists& lists,
                                                          size_t token_count,
                                                          const GraphBuildOptions& options,
                                                          BuildProgress& progress);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_PROJECTION_H_
