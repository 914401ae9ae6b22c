// Forecasting which tokens a query will score highest, from the scores of anchors.
//
// Reads a few bytes per token that some anchor lists instead of its key, for the query
// heads of a group at once.

#ifndef ALAYA_INDEX_GRAPH_FORECAST_H_
#define ALAYA_INDEX_GRAPH_FORECAST_H_

#include <cstddef>
#include <span>
#include <vector>

#include "index/graph/anchor_blocks.h"
#include "index/index_blocks.h"
#include "index/token_index.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Of every query up to counts[i] tokens of visible[i] with the highest forecasts, about,
// in no order; their scores are forecasts of the unscaled scores. `weights` is what
// ReadAnchorWeights gives. Tokens that no anchor lists are never among them.
//
// Requires: queries [query_count, header.head_dim]; as many ranges and counts.
// Guarantees: forecasts are finite; the same input gives the same answer.
// Errors: what `blocks` returns; DataLoss for damaged ones.
StatusOr<std::vector<std::vector<ScoredToken>>> ForecastBest(const AnchorHeader& header,
                                                             std::span<const float> weights,
                                                             const IndexBlockReader& blocks,
                                                             MatrixView<const float> queries,
                                                             std::span<const TokenRange> visible,
                                                             std::span<const size_t> counts);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_FORECAST_H_
