// Where the attention of query heads lies in a context, as a picture: a row for every
// query head, a column for every stretch of tokens.

#ifndef ALAYA_CLIENT_CLI_HEATMAP_H_
#define ALAYA_CLIENT_CLI_HEATMAP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "alaya/v1/context_service.pb.h"
#include "client/client.h"
#include "storage/types/status.h"

namespace alaya::client {

struct Heatmap {
  struct Row {
    uint32_t query = 0;
    uint32_t head = 0;
    // [columns] of the attention to all tokens that were found.
    std::vector<double> shares;
  };
  uint64_t token_count = 0;  // of the context
  size_t columns = 0;
  std::vector<Row> rows;
};

// `scale`: from score to logit. At most one column a token.
//
// Requires: token_count, columns and num_query_heads > 0.
Heatmap MakeHeatmap(const pb::SearchContextResponse& response, uint32_t num_query_heads,
                    double scale, uint64_t token_count, size_t columns);

// For a terminal: shades by powers of ten, positions below, a legend.
std::string HeatmapText(const Heatmap& heatmap);

// Writes a PNG file, brighter where there is more attention.
//
// Errors: InvalidArgument if the file cannot be written.
Status WriteHeatmapPng(const Heatmap& heatmap, const std::string& path);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_HEATMAP_H_
