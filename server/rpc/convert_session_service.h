// Requests of SessionService to the engine's words, and its answers back.
//
// FromProto checks all that can be checked without the engine's state; results view
// the request where they hold tensors. ToProto never fails.

#ifndef ALAYA_SERVER_RPC_CONVERT_SESSION_SERVICE_H_
#define ALAYA_SERVER_RPC_CONVERT_SESSION_SERVICE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "alaya/v1/session_service.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/rpc_options.h"

namespace alaya {

StatusOr<CreateSessionParams> FromProto(const v1::CreateSessionRequest& proto,
                                        std::string_view tenant, const RequestLimits& limits);

// Errors: InvalidArgument unless 1 to max_items_per_request items.
Status CheckItemCount(const v1::AttendRequest& proto, const RequestLimits& limits);
// Item `index` of a request. The result views `proto`.
StatusOr<AttendItem> FromProto(const v1::AttendItem& proto, int index, std::string_view tenant,
                               const RequestLimits& limits);
// Requires: `proto` is empty.
void ToProto(AttendResult result, v1::AttendResult* proto);

StatusOr<StoreSessionParams> FromProto(const v1::StoreSessionRequest& proto,
                                       std::string_view tenant, const RequestLimits& limits);

// Of all requests that name just a session.
StatusOr<std::string> SessionIdFromProto(const std::string& session_id);

struct ListSessionsParams {
  std::string after_id;
  size_t page_size = 0;
  std::string listing;  // for the next page's token
};
StatusOr<ListSessionsParams> FromProto(const v1::ListSessionsRequest& proto);

void ToProto(const SessionInfo& session, v1::Session* proto);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONVERT_SESSION_SERVICE_H_
