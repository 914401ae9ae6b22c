#include "server/rpc/convert_session_service.h"

#include <bit>
#include <cstdint>
#include <utility>

#include "server/rpc/convert_attention.h"
#include "server/rpc/convert_fields.h"
#include "server/rpc/convert_tensor.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status_details.h"

namespace alaya {

static_assert(std::endian::native == std::endian::little, "tensors travel as they lie in memory");

StatusOr<CreateSessionParams> FromProto(const v1::CreateSessionRequest& proto,
                                        std::string_view tenant, const RequestLimits& limits) {
  CreateSessionParams params;
  params.tenant = tenant;
  // A named context implies its model.
  if (!proto.model().empty() || proto.context_id().empty()) {
    ALAYA_ASSIGN_OR_RETURN(params.model, ModelNameFromProto(proto.model(), {"model"}));
  }
  ALAYA_ASSIGN_OR_RETURN(
      params.tokens,
      TokensFromProto(proto.tokens(), 0, limits.engine.max_context_tokens, {"tokens"}));
  if (!proto.context_id().empty()) {
    ALAYA_ASSIGN_OR_RETURN(params.context_id, IdFromProto(proto.context_id(), {"context_id"}));
    if (!params.tokens.empty()) {
      return RequestError(
          "TOKENS_AND_CONTEXT", {"tokens"},
          "must be empty when context_id is set, it has " + std::to_string(params.tokens.size()));
    }
  }
  if (proto.has_reuse_limit()) params.reuse_limit = proto.reuse_limit();
  return params;
}

Status CheckItemCount(const v1::AttendRequest& proto, const RequestLimits& limits) {
  const auto count = static_cast<uint32_t>(proto.items_size());
  if (count >= 1 && count <= limits.max_items_per_request) return OkStatus();
  return RequestError("ITEM_COUNT", {"items"},
                      std::to_string(count) + " items, allowed is 1 to " +
                          std::to_string(limits.max_items_per_request));
}

StatusOr<AttendItem> FromProto(const v1::AttendItem& proto, int index, std::string_view tenant,
                               const RequestLimits& limits) {
  const FieldPath key_field{"key", "items", index};
  const FieldPath value_field = key_field.With("value");
  const FieldPath query_field = key_field.With("query");
  AttendItem item;
  item.tenant = tenant;
  ALAYA_ASSIGN_OR_RETURN(item.session_id,
                         IdFromProto(proto.session_id(), key_field.With("session_id")));
  item.layer = LayerIndex{proto.layer()};
  if (proto.has_query()) {
    ALAYA_ASSIGN_OR_RETURN(item.query, FromProto(proto.query(), query_field));
  }
  if (proto.has_key() != proto.has_value()) {
    return RequestError("TENSOR_MISSING", proto.has_key() ? value_field : key_field,
                        "key and value must be given together");
  }
  if (proto.has_key()) {
    ALAYA_ASSIGN_OR_RETURN(item.key, FromProto(proto.key(), key_field));
    ALAYA_ASSIGN_OR_RETURN(item.value, FromProto(proto.value(), value_field));
    ALAYA_RETURN_IF_ERROR(CheckSameShape(*item.value, value_field, *item.key, key_field));
  } else if (!proto.has_query()) {
    return RequestError("TENSOR_MISSING", query_field,
                        "an item needs a query, or a key and a value");
  }
  if (item.query && item.key && item.query->tokens != item.key->tokens) {
    return RequestError("TENSOR_MISMATCH", key_field,
                        std::to_string(item.key->tokens) + " tokens, the query has " +
                            std::to_string(item.query->tokens));
  }
  const size_t tokens = item.query ? item.query->tokens : item.key->tokens;
  if (tokens > limits.engine.max_queries_per_item) {
    return RequestLimitError(item.query ? query_field : key_field,
                             std::to_string(tokens) + " tokens, max_queries_per_item is " +
                                 std::to_string(limits.engine.max_queries_per_item));
  }
  ALAYA_ASSIGN_OR_RETURN(item.options, FromProto(proto.options(), key_field));
  return item;
}

void ToProto(AttendResult result, v1::AttendResult* proto) {
  ToProto(result.status, proto->mutable_status());
  if (!result.status.ok()) return;
  if (result.tokens > 0) {
    ToProto(result.dtype, {result.tokens, result.heads, result.dim}, std::move(result.output),
            proto->mutable_output());
    const auto* bytes = reinterpret_cast<const char*>(result.log_sum_exp.data());
    ToProto(DType::kF32, {result.tokens, result.heads},
            std::string(bytes, result.log_sum_exp.size() * sizeof(float)),
            proto->mutable_log_sum_exp());
  }
  ToProto(result.stats, proto->mutable_stats());
}

StatusOr<StoreSessionParams> FromProto(const v1::StoreSessionRequest& proto,
                                       std::string_view tenant, const RequestLimits& limits) {
  StoreSessionParams params;
  params.tenant = tenant;
  ALAYA_ASSIGN_OR_RETURN(params.session_id, SessionIdFromProto(proto.session_id()));
  ALAYA_ASSIGN_OR_RETURN(
      params.tokens,
      TokensFromProto(proto.tokens(), 1, limits.engine.max_context_tokens, {"tokens"}));
  if (proto.has_context_id()) {
    ALAYA_ASSIGN_OR_RETURN(params.context_id, IdFromProto(proto.context_id(), {"context_id"}));
  }
  ALAYA_ASSIGN_OR_RETURN(params.labels, LabelsFromProto(proto.labels(), {"labels"}));
  if (proto.has_ttl()) {
    ALAYA_ASSIGN_OR_RETURN(params.ttl, TtlFromProto(proto.ttl(), {"ttl"}));
  }
  return params;
}

StatusOr<std::string> SessionIdFromProto(const std::string& session_id) {
  return IdFromProto(session_id, {"session_id"});
}

StatusOr<ListSessionsParams> FromProto(const v1::ListSessionsRequest& proto) {
  ListSessionsParams params;
  params.listing = "sessions\n";
  ALAYA_ASSIGN_OR_RETURN(params.page_size, PageSizeFromProto(proto.page_size()));
  ALAYA_ASSIGN_OR_RETURN(params.after_id, DecodePageToken(params.listing, proto.page_token()));
  return params;
}

void ToProto(const SessionInfo& session, v1::Session* proto) {
  proto->set_session_id(session.session_id);
  proto->set_model(session.model);
  proto->set_context_id(session.context_id);
  proto->set_reused_tokens(session.reused_tokens);
  proto->set_tail_tokens(session.tail_tokens);
  proto->set_tail_bytes(session.tail_bytes);
  ToProto(session.create_time, proto->mutable_create_time());
  ToProto(session.last_use_time, proto->mutable_last_use_time());
}

}  // namespace alaya
