// Searching the codes of a flat index: approximate scores of all tokens, exact scores
// of those that their errors cannot exclude.
//
//   1. Every block is scanned for all queries at once; a token whose approximate score
//      plus bound reaches the bar is kept. The bar follows the best exact score: a
//      token that looks better than it is scored exactly at once. Top-k's bar follows
//      the exact scores of the k tokens that look best.
//   2. What was kept is scored exactly, from the rows of the keys, or from whole blocks where
//      most rows are needed: for DIPR while the scan goes on, from keys that are in memory, so
//      that its arithmetic hides their latency and later blocks meet a higher bar; else when all
//      bars are final.
//
// Where the rest is estimated, step 1 of a statistical search has two passes in long texts: by the
// upper half of the codes, which also weighs what is left out, and by both of those groups that
// have candidates or weights that matter (coarse_rest.h).
//
// The bound: let x be the rotated key without the centre, x' its levels, q the rotated
// query and q' its codes. Then
//     |<q, x> - <q', x'>|  <=  |q| |x - x'| + |q - q'| |x'|,
// where the index holds |x - x'| of every token, plus what floats round on the way, in
// these scores and in the exact ones. It always holds: *sound*. The errors of single
// elements are as good as independent of the query's after the rotation, so the
// difference is in fact near normal with a deviation of the bound / sqrt(head_dim):
// *statistical* search takes kStatisticalDeviations of these instead, and reads only the
// upper half of the codes where that excludes enough. A token at the bar is then missed
// with probability 6e-3, one above it with less: measured, of all tokens of the set, one
// or two in 10,000.

#ifndef ALAYA_INDEX_FLAT_FLAT_SEARCH_H_
#define ALAYA_INDEX_FLAT_FLAT_SEARCH_H_

#include <cstddef>

#include "index/flat/flat_blocks.h"
#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

inline constexpr double kStatisticalDeviations = 2.5;

struct PinnedFlatBlock {
  FlatBlock block;  // valid while pin lives
  BlockPin pin;
};

// The codes of the first header().token_count tokens of a KvReader.
class FlatSource {
 public:
  virtual ~FlatSource() = default;

  virtual const FlatHeader& header() const = 0;
  // Brings queries into the coordinates of the codes: header().query_map says how, and what is
  // rounded. Shapes: both [query_count, head_dim]. Errors: as Block.
  virtual Status MapQueries(MatrixView<const float> queries, MatrixView<float> mapped) const = 0;
  // Code block `block`, checked. Errors: DataLoss, and as IndexBlockReader.
  virtual StatusOr<PinnedFlatBlock> Block(size_t block) const = 0;
};

// TokenIndex::Search. Tokens of `keys` that the source does not cover are scored
// exactly. Top-k is searched soundly. MassTarget finds the tokens above a bar that leaves half of
// what the target does to those below it, by approximate scores: the rest's weight is then known
// to far less than what is at stake.
//
// Errors: whatever a block read returns.
StatusOr<SearchResult> SearchFlat(const FlatSource& source, const KvReader& keys,
                                  const SearchRequest& request);

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_FLAT_SEARCH_H_
