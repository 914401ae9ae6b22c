// Raw retrieval in a stored context: which tokens score highest for query vectors.

#ifndef ALAYA_SERVER_ENGINE_CONTEXT_SEARCH_H_
#define ALAYA_SERVER_ENGINE_CONTEXT_SEARCH_H_

#include "server/engine/engine.h"
#include "server/engine/worker_pool.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Engine::SearchContext on a context that was found; kv heads run side by side.
StatusOr<SearchAnswer> SearchStoredContext(ContextStore* store, WorkerPool* pool,
                                           const EngineLimits& limits, const StoredContext& context,
                                           const SearchParams& params);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_CONTEXT_SEARCH_H_
