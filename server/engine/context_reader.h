// Reads the KV of a stored context back: the plain use as a KV cache.
//
// Every byte is moved once, from where the disk brought it to its place in the message; what is
// in memory already comes from there, and nothing leaves memory for it: a context that is read
// whole is mostly not attended to. Reads and moves of several chunks run at a time.

#ifndef ALAYA_SERVER_ENGINE_CONTEXT_READER_H_
#define ALAYA_SERVER_ENGINE_CONTEXT_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "server/engine/admission.h"
#include "server/engine/engine.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Engine::ReadContext on a context that was found. `store` and `admission`, which each chunk
// asks for a ticket, must outlive the reading.
StatusOr<std::unique_ptr<ContextReading>> BeginReading(ContextStore* store, Admission* admission,
                                                       std::shared_ptr<const StoredContext> context,
                                                       const std::optional<TokenRange>& range,
                                                       std::span<const uint32_t> layers);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_CONTEXT_READER_H_
