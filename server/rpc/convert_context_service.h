// Requests of ContextService to the engine's words, and its answers back.
//
// FromProto checks all that can be checked without the engine's state; results view
// the request where they hold tensors. ToProto never fails.

#ifndef ALAYA_SERVER_RPC_CONVERT_CONTEXT_SERVICE_H_
#define ALAYA_SERVER_RPC_CONVERT_CONTEXT_SERVICE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "alaya/v1/context_service.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/rpc_options.h"

namespace alaya {

StatusOr<ImportHeader> FromProto(const v1::ImportContextRequest::Header& proto,
                                 std::string_view tenant, const RequestLimits& limits);
StatusOr<ImportChunk> FromProto(const v1::ImportContextRequest::Chunk& proto,
                                const RequestLimits& limits);
// Of ImportContext and StoreSession: their answers have the same fields.
template <typename Response>
void ToProto(const ImportResult& result, Response* proto) {
  proto->set_context_id(result.context_id);
  proto->set_reused_tokens(result.reused_tokens);
  proto->set_stored_bytes(result.stored_bytes);
}

struct MatchParams {
  std::string model;
  std::vector<TokenId> tokens;
};
StatusOr<MatchParams> FromProto(const v1::MatchContextRequest& proto, const RequestLimits& limits);

struct ReadParams {
  std::string context_id;
  std::optional<TokenRange> token_range;
  std::vector<uint32_t> layers;  // empty: all
};
StatusOr<ReadParams> FromProto(const v1::ReadContextRequest& proto);

struct ListContextsParams {
  ContextFilter filter;
  std::string after_id;
  size_t page_size = 0;
  std::string listing;  // for the next page's token
};
StatusOr<ListContextsParams> FromProto(const v1::ListContextsRequest& proto,
                                       std::string_view tenant);

StatusOr<UpdateContextParams> FromProto(const v1::UpdateContextRequest& proto,
                                        std::string_view tenant);
StatusOr<SearchParams> FromProto(const v1::SearchContextRequest& proto, std::string_view tenant,
                                 const RequestLimits& limits);

void ToProto(const StoredContext& context, v1::Context* proto);
void ToProto(const SearchAnswer& answer, v1::SearchContextResponse* proto);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONVERT_CONTEXT_SERVICE_H_
