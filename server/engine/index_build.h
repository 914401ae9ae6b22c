// Builds one index of one stored segment: head by head, from the store to the store.

#ifndef ALAYA_SERVER_ENGINE_INDEX_BUILD_H_
#define ALAYA_SERVER_ENGINE_INDEX_BUILD_H_

#include <functional>
#include <memory>

#include "server/engine/index_kinds.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Reads the segment's keys and values (and sampled queries, if the kind wants them)
// and commits the index. `should_stop` is as in IndexBuildInput; it is also asked
// between blocks. `nearest_keys` may be null.
//
// Errors: Cancelled when told to stop; NotFound if the segment was deleted meanwhile;
//   what the store or the kind's build says. Nothing is left behind then.
Status BuildSegmentIndex(ContextStore* store, const std::shared_ptr<const Segment>& segment,
                         const IndexKindRow& kind, const std::function<bool()>& should_stop,
                         NearestKeyFinder* nearest_keys = nullptr);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_INDEX_BUILD_H_
