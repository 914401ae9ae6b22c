// Stage 3: every token becomes reachable.
//
// Neighbours in the text are often neighbours in space: keys of one topic, turned alike
// by their positions. So a key's nearest are looked for around it only.

#ifndef ALAYA_INDEX_GRAPH_CONNECTIVITY_H_
#define ALAYA_INDEX_GRAPH_CONNECTIVITY_H_

#include "index/graph/build_keys.h"
#include "index/graph/build_progress.h"
#include "index/graph/graph_build.h"
#include "storage/types/status.h"

namespace alaya {

// Adds to the neighbours of every token from graph->first_token on its
// options.link_count nearest keys among the tokens up to options.link_window before and
// after it, as far as it does not have them.
//
// Errors: Cancelled.
Status LinkNearKeys(const BuildKeys& keys, const GraphBuildOptions& options,
                    BuildProgress& progress, KeyGraph* graph);

// Makes every token from graph->first_token on reachable from the entries: one that is
// not becomes the neighbour of the token before it in the text, often of its kind.
// Adds at most one neighbour to a token.
void ReachAllTokens(KeyGraph* graph);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_CONNECTIVITY_H_
