// The coarse index: stretches of consecutive tokens, of which a query takes the most
// promising ones.
//
// A stretch's promise is a bound on its scores (stretch_bounds.h). Stretches are scored
// exactly in falling order of promise, until none of the others can matter, or until as
// many tokens are scored as allowed. It takes 1 % of the bytes of keys and values and
// next to no time to build, and reads whole stretches; but keys of a stretch differ,
// so the bounds exclude little and a limited search misses more than the other kinds.
//
// Sources: Quest, arXiv:2406.10774; InfLLM, arXiv:2402.04617.

#ifndef ALAYA_INDEX_COARSE_COARSE_INDEX_H_
#define ALAYA_INDEX_COARSE_COARSE_INDEX_H_

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "index/coarse/stretch_bounds.h"
#include "index/index_blocks.h"
#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct CoarseSearchOptions {
  // Of the visible tokens, how many a query may score, in (0, 1]; but at least
  // tokens_scored_min, and for top-k 4 * k.
  double share_scored_max = 0.1;
  size_t tokens_scored_min = 1024;
};

class CoarseIndex : public TokenIndex {
 public:
  // `blocks` and `reader` must outlive the index.
  //
  // Errors: DataLoss if the blocks are not bounds of these keys; what `blocks` returns.
  static StatusOr<std::unique_ptr<CoarseIndex>> Open(const IndexBlockReader* blocks,
                                                     const KvReader* reader,
                                                     const CoarseSearchOptions& options = {});

  // The same with bounds that are known already, of stretch 0 on, and without blocks. It
  // searches for rows of `queries` alone.
  //
  // Shapes: queries [query_count, head_dim], bounds [query_count, stretch_count]; both must
  //   outlive the index.
  static std::unique_ptr<CoarseIndex> WithBounds(StretchHeader header, const KvReader* reader,
                                                 MatrixView<const float> queries,
                                                 MatrixView<const float> bounds,
                                                 const CoarseSearchOptions& options = {});

  // Can it answer the target? Not mass: it does not know the mass of what it skips.
  static bool Answers(const Target& target);

  IndexKind kind() const override { return IndexKind::kCoarse; }

  // Scores are exact. Tokens of the target may be missing, unless it is a DIPR target
  // and `sound` is set: then nothing limits the work but the bounds. With want_mass
  // log_sum_exp is over the tokens that were scored: a lower bound.
  //
  // Errors: InvalidArgument for a target that it cannot answer; DataLoss for damaged
  //   blocks; what a read returns.
  StatusOr<SearchResult> Search(const SearchRequest& request) const override;

 private:
  CoarseIndex(const IndexBlockReader* blocks, const KvReader* reader,
              const CoarseSearchOptions& options, StretchHeader header)
      : blocks_(blocks), reader_(reader), options_(options), header_(std::move(header)) {}

  Status UpperBounds(std::span<const float> query, size_t first_stretch,
                     std::span<float> bounds) const;

  const IndexBlockReader* blocks_;  // null: bounds are known
  const KvReader* reader_;
  CoarseSearchOptions options_;
  StretchHeader header_;
  MatrixView<const float> queries_;  // of known bounds
  MatrixView<const float> bounds_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_COARSE_COARSE_INDEX_H_
