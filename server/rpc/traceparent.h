// The caller's place in a distributed trace: the header `traceparent` of W3C's Trace
// Context, which OpenTelemetry sends as gRPC metadata. It goes into the log, so that a
// line of the server is found from the caller's trace.

#ifndef ALAYA_SERVER_RPC_TRACEPARENT_H_
#define ALAYA_SERVER_RPC_TRACEPARENT_H_

#include <string>
#include <string_view>

#include "grpcpp/server_context.h"

namespace alaya {

// Whether `text` is version, trace id, parent id and flags as the standard writes them:
// "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".
bool IsTraceparent(std::string_view text);

// The call's header; empty if there is none or it is malformed, as it goes into a log.
std::string TraceparentOf(const grpc::CallbackServerContext& call);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_TRACEPARENT_H_
