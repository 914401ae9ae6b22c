// Which short segments of a chain to join into one.
//
// A session that is stored again and again adds a short segment each time, and a query
// runs over every segment of its chain. As in an LSM tree with tiers by size, segments
// that follow each other are joined when the older ones are not larger than what joins
// them: a token is rewritten once per doubling, and a chain of n stored turns keeps a
// number of short segments in the order of log n.
//
// Sharing stays: nothing is joined across a point where contexts part. A context that
// only ends within the joined tokens links to their beginning.

#ifndef ALAYA_STORAGE_CONTEXT_MERGE_POLICY_H_
#define ALAYA_STORAGE_CONTEXT_MERGE_POLICY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "storage/context/stored_context.h"

namespace alaya {

struct MergeOptions {
  uint32_t segments_min = 4;     // joined at a time, at least; 0: nothing is joined
  uint64_t tokens_max = 32'768;  // of a joined segment
};

// True if every context that goes on after some of the first segment's tokens does so with
// the second one.
using IsOnlySuccessor = std::function<bool(const Segment&, const Segment&)>;

// Segments of the chain that follow each other and should be one; empty: none. Of several
// runs the last one; of runs with the same end the longest.
// Requires: segments_min of at least 2.
std::vector<std::shared_ptr<const Segment>> FindMergeRun(const std::vector<SegmentLink>& chain,
                                                         const IsOnlySuccessor& is_only_successor,
                                                         const MergeOptions& options);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_MERGE_POLICY_H_
