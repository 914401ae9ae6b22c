// Makes a session's tokens a new stored context.

#ifndef ALAYA_SERVER_ENGINE_SESSION_STORING_H_
#define ALAYA_SERVER_ENGINE_SESSION_STORING_H_

#include "server/engine/engine.h"
#include "server/engine/random_ids.h"
#include "server/engine/session.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Where and under which limits; all pointers must outlive the call.
struct StoringTools {
  ContextStore* store = nullptr;
  const Clock* clock = nullptr;
  RandomIds* ids = nullptr;
  const EngineLimits* limits = nullptr;
};

// Shares the longest stored prefix, at least the session's own, writes the other
// tokens as one segment, and bases the session on the new context: its tail is empty
// then. Call on the session's strand.
//
// Errors: InvalidArgument if the tokens are not the session's, or for id, labels and
//   ttl; FailedPrecondition if layers hold different numbers of tokens; what the
//   store says. The session is unchanged then.
StatusOr<ImportResult> StoreSessionAsContext(const StoreSessionParams& params,
                                             const StoringTools& tools, Session* session);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SESSION_STORING_H_
