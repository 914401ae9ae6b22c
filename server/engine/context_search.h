// Raw retrieval in a stored context: which tokens score highest for query vectors.

#ifndef ALAYA_SERVER_ENGINE_CONTEXT_SEARCH_H_
#define ALAYA_SERVER_ENGINE_CONTEXT_SEARCH_H_

#include "server/engine/engine.h"
#include "server/engine/index_table.h"
#include "server/engine/worker_pool.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// What a search runs on.
struct SearchMeans {
  ContextStore* store = nullptr;
  IndexTable* indexes = nullptr;  // null: only exact scans
  WorkerPool* pool = nullptr;
};

// Engine::SearchContext on a context that was found; kv heads run side by side. Segments
// with a flat index are searched through it, soundly: the answer is that of exact scans.
StatusOr<SearchAnswer> SearchStoredContext(const SearchMeans& means, const EngineLimits& limits,
                                           const StoredContext& context,
                                           const SearchParams& params);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_CONTEXT_SEARCH_H_
