// The fine index: a graph over the keys, walked towards high scores.
//
// Built through sampled queries (graph_build.h), kept in blocks (graph_blocks.h,
// anchor_blocks.h). A search forecasts scores from those of anchors (forecast.h), scores
// the best forecasts exactly until the rest cannot matter, and goes on from there by
// DIPRS (graph_walk.h). It may miss tokens: it is for targets that allow that.

#ifndef ALAYA_INDEX_GRAPH_FINE_INDEX_H_
#define ALAYA_INDEX_GRAPH_FINE_INDEX_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "index/graph/anchor_blocks.h"
#include "index/graph/graph_blocks.h"
#include "index/graph/graph_build.h"
#include "index/index_blocks.h"
#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Builds the graph of a kv head and writes it to `sink`; arguments and errors as of
// BuildKeyGraph.
Status BuildFineIndex(const KvReader& reader, MatrixView<const float> queries,
                      const GraphBuildOptions& options, const IndexBlockSink& sink);

struct FineSearchOptions {
  // Of the visible tokens, how many forecasts may be scored, in [0, 1], but at least
  // forecast_tokens_min; for top-k at least 2 * k.
  double forecast_share = 0.02;
  size_t forecast_tokens_min = 2048;
  // The walk's l0: more finds more and costs more. For top-k at least k are used.
  size_t beam_width = 64;
  // Fewer visible tokens than this are all scored.
  size_t scan_tokens = 2048;
  // Blocks held pinned by one search, of keys and of the graph each. If memory is full
  // of pinned blocks it makes do with fewer.
  size_t pin_count_max = 512;
};

class FineIndex : public TokenIndex {
 public:
  // `blocks` and `reader` must outlive the index.
  //
  // Errors: DataLoss if the blocks are not a graph of these keys; what `blocks` returns.
  static StatusOr<std::unique_ptr<FineIndex>> Open(const IndexBlockReader* blocks,
                                                   const KvReader* reader,
                                                   const FineSearchOptions& options = {});

  // Can it answer the target? Not mass: it does not know the mass of what it skips.
  static bool Answers(const Target& target);

  IndexKind kind() const override { return IndexKind::kFine; }

  // Scores are exact. Tokens of the target may be missing, `sound` or not; the first
  // tokens of the segment (GraphBuildOptions::first_token) never are. With want_mass
  // log_sum_exp is over the tokens that were scored: a lower bound.
  //
  // Errors: InvalidArgument for a target that it cannot answer; DataLoss for damaged
  //   blocks; what a read returns.
  StatusOr<SearchResult> Search(const SearchRequest& request) const override;

  const GraphHeader& header() const { return header_; }
  size_t anchor_count() const { return anchors_.anchor_count(); }

 private:
  FineIndex(const IndexBlockReader* blocks, const KvReader* reader,
            const FineSearchOptions& options, GraphHeader header, AnchorHeader anchors,
            std::vector<float> anchor_weights)
      : blocks_(blocks),
        reader_(reader),
        options_(options),
        header_(std::move(header)),
        anchors_(std::move(anchors)),
        anchor_weights_(std::move(anchor_weights)) {}

  // How many forecasts of a query may be scored.
  size_t ForecastCount(const Target& target, TokenRange visible) const;

  const IndexBlockReader* blocks_;
  const KvReader* reader_;
  FineSearchOptions options_;
  GraphHeader header_;
  AnchorHeader anchors_;
  std::vector<float> anchor_weights_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_FINE_INDEX_H_
