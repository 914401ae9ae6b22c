// Which tokens of a whole sequence belong to a target: retrieval without attention.

#ifndef ALAYA_INDEX_SEQUENCE_SEARCH_H_
#define ALAYA_INDEX_SEQUENCE_SEARCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "index/selection.h"
#include "index/sequence_part.h"
#include "index/target.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Queries for one kv head, and where they look. All views must outlive the call.
struct SequenceSearchTask {
  MatrixView<const float> queries;  // [query_count, head_dim]
  // [query_count] sequence positions that a query may see.
  std::span<const TokenRange> visible;
  // Parts without an index are scanned.
  std::span<const SequencePart> parts;
  Target target;    // not FullTarget
  float scale = 1;  // from score to logit, > 0
};

struct SequenceSearchResult {
  // [query_count] exactly the target's tokens, as far as the parts' indexes find
  // them, by falling score; of equal scores the earlier token first.
  std::vector<std::vector<SequenceToken>> queries;
  uint64_t tokens_scored = 0;  // summed over queries
};

// The tokens of each query's target over all that it sees, across parts. No window.
//
// Errors: InvalidArgument for FullTarget; whatever a block read returns.
// Threads: any number of calls at a time.
StatusOr<SequenceSearchResult> SearchSequence(const SequenceSearchTask& task);

}  // namespace alaya

#endif  // ALAYA_INDEX_SEQUENCE_SEARCH_H_
