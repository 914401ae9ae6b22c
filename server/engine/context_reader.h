// Reads the KV of a stored context back: the plain use as a KV cache.

#ifndef ALAYA_SERVER_ENGINE_CONTEXT_READER_H_
#define ALAYA_SERVER_ENGINE_CONTEXT_READER_H_

#include <functional>
#include <optional>
#include <span>

#include "server/engine/engine.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Engine::ReadContext on a context that was found. A range that reaches beyond the
// context ends with it.
Status ReadStoredContext(ContextStore* store, const StoredContext& context,
                         const std::optional<TokenRange>& range, std::span<const uint32_t> layers,
                         const std::function<bool(ReadChunk)>& sink);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_CONTEXT_READER_H_
