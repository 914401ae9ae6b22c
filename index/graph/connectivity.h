// Stage 3: every token becomes reachable.

#ifndef ALAYA_INDEX_GRAPH_CONNECTIVITY_H_
#define ALAYA_INDEX_GRAPH_CONNECTIVITY_H_

#include "index/graph/build_keys.h"
#include "index/graph/build_progress.h"
#include "index/graph/graph_build.h"
#include "storage/types/status.h"

namespace alaya {

// Links the tokens from graph->first_token on that are nobody's neighbour with the
// nearest keys that a walk over the others finds, both ways as far as there is room.
//
// Errors: Cancelled.
Status LinkLoneTokens(const BuildKeys& keys, const GraphBuildOptions& options,
                      BuildProgress& progress, KeyGraph* graph);

// Makes every token from graph->first_token on reachable from the entries: one that is
// not becomes the neighbour of the token before it in the text, often of its kind.
// Adds at most one neighbour to a token.
void ReachAllTokens(KeyGraph* graph);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_CONNECTIVITY_H_
