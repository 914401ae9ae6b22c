// Makes a session's tokens a new stored context.

#ifndef ALAYA_SERVER_ENGINE_SESSION_STORING_H_
#define ALAYA_SERVER_ENGINE_SESSION_STORING_H_

#include "server/engine/engine.h"
#include "server/engine/new_context.h"
#include "server/engine/session.h"
#include "storage/types/status.h"

namespace alaya {

// Shares the longest stored prefix, at least the session's own, writes the other
// tokens as one segment, and bases the session on the new context: its tail is empty
// then. Call on the session's strand.
//
// Errors: InvalidArgument if the tokens are not the session's, or for id, labels and
//   ttl; FailedPrecondition if layers hold different numbers of tokens; what the
//   store says. The session is unchanged then.
StatusOr<ImportResult> StoreSessionAsContext(const StoreSessionParams& params,
                                             const NewContextTools& tools,
                                             const EngineLimits& limits, Session* session);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SESSION_STORING_H_
