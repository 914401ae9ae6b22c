// Coordinates of codes that suit the queries to come.
//
// A rotation spreads keys over all elements, so that errors of codes are alike in all directions.
// Queries are not: they keep to some directions, which are about the same for the next ones. With
//     x = A (key - centre),   B query,   B^T A = I
// for a pair of maps, the inner product is the same, and the error of a score, |B query| times
// |x - levels| / sqrt(head_dim) for errors alike in all directions, is least where
//     trace(A K A^T) * trace(B Q B^T)
// is, for the second moments K of keys and Q of queries. The least one is the square of the sum of
// l_i, where l_i^2 are the eigenvalues of K^1/2 Q K^1/2; A and B that have it lead to coordinates
// in which elements of keys and queries are independent, with variances l_i both. Rotated
// (in halves, if the larger half of l_i is nearly all), they spread errors again.
//
// Sources: ours. That a query misses what codes of keys are made for: RoarGraph
// (arXiv:2408.08933); codes that weigh errors by queries: ScaNN (arXiv:1908.10396).

#ifndef ALAYA_INDEX_FLAT_QUERY_FIT_H_
#define ALAYA_INDEX_FLAT_QUERY_FIT_H_

#include <optional>
#include <vector>

#include "index/flat/flat_blocks.h"
#include "index/kernels/key_codes.h"
#include "storage/types/views.h"

namespace alaya {

struct QueryFit {
  KeyMap keys;
  // [head_dim, head_dim]; row i is what element i of a query adds to the mapped query.
  std::vector<float> queries;
  QueryMap facts;
};

// None if it is no better than a rotation, or numbers are out of range.
//
// Shapes: keys [any, head_dim], centred: a sample; queries [any, head_dim], by rising position,
//   any number of them for a position. The last ones count most.
// Requires: head_dim is a multiple of 8.
// Cost: head_dim^2 per row and about 40 * head_dim^3: some 10 ms for head_dim 128 and 4,000 rows.
std::optional<QueryFit> FitToQueries(MatrixView<const float> keys, MatrixView<const float> queries);

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_QUERY_FIT_H_
