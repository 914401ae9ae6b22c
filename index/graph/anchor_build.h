// Choosing anchors and scoring their best tokens (anchor_scores.h).

#ifndef ALAYA_INDEX_GRAPH_ANCHOR_BUILD_H_
#define ALAYA_INDEX_GRAPH_ANCHOR_BUILD_H_

#include "index/graph/anchor_scores.h"
#include "index/graph/build_progress.h"
#include "index/graph/graph_build.h"
#include "index/kv_reader.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Chooses options.anchor_count of the queries, most of them late ones, and scores the
// tokens from options.first_token on. Without queries there are no anchors.
//
// Guarantees: the same input gives the same scores, whatever parallel_for does.
// Cost: anchor_count * token_count * head_dim multiplications.
// Errors: Cancelled; what `reader` returns.
StatusOr<AnchorScores> BuildAnchorScores(const KvReader& reader, MatrixView<const float> queries,
                                         const GraphBuildOptions& options, BuildProgress& progress);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_ANCHOR_BUILD_H_
