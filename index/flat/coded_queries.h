// Queries as they meet the codes of a flat index.

#ifndef ALAYA_INDEX_FLAT_CODED_QUERIES_H_
#define ALAYA_INDEX_FLAT_CODED_QUERIES_H_

#include <optional>
#include <vector>

#include "index/flat/bounds.h"
#include "index/flat/flat_search.h"
#include "index/kernels/code_scores.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct CodedQueries {
  CodeQueries codes;
  std::vector<CodeFrame> frames;  // for the bounds of each
};

// None if a number is so large that bounds would overflow.
//
// Shapes: queries [any, head_dim].
// Errors: whatever a block read returns.
StatusOr<std::optional<CodedQueries>> CodeQueriesOf(const FlatSource& source,
                                                    MatrixView<const float> queries);

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_CODED_QUERIES_H_
