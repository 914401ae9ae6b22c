#include "server/rpc/convert_context_service.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "server/rpc/convert_attention.h"
#include "server/rpc/convert_fields.h"
#include "server/rpc/convert_tensor.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status_details.h"

namespace alaya {
namespace {

constexpr int kReadLayerCountMax = 1024;

// Each kind once, in the order of their numbers.
StatusOr<std::vector<IndexKind>> FromProto(const v1::IndexOptions& options) {
  std::set<int> numbers;
  for (const int kind : options.kinds()) {
    if (kind == v1::INDEX_KIND_UNSPECIFIED || !v1::IndexKind_IsValid(kind)) {
      return RequestError("INDEX_KIND_UNKNOWN", {"header.index_options.kinds"},
                          std::to_string(kind) + " is no IndexKind");
    }
    numbers.insert(kind);
  }
  std::vector<IndexKind> kinds;
  kinds.reserve(numbers.size());
  for (const int number : numbers) kinds.push_back(static_cast<IndexKind>(number));
  return kinds;
}

}  // namespace

StatusOr<ImportHeader> FromProto(const v1::ImportContextRequest::Header& proto,
                                 std::string_view tenant, const RequestLimits& limits) {
  ImportHeader header;
  header.tenant = tenant;
  ALAYA_ASSIGN_OR_RETURN(header.model, ModelNameFromProto(proto.model(), {"header.model"}));
  ALAYA_ASSIGN_OR_RETURN(
      header.tokens,
      TokensFromProto(proto.tokens(), 1, limits.engine.max_context_tokens, {"header.tokens"}));
  if (proto.has_context_id()) {
    ALAYA_ASSIGN_OR_RETURN(header.context_id,
                           IdFromProto(proto.context_id(), {"header.context_id"}));
  }
  ALAYA_ASSIGN_OR_RETURN(header.labels, LabelsFromProto(proto.labels(), {"header.labels"}));
  if (proto.has_ttl()) {
    ALAYA_ASSIGN_OR_RETURN(header.ttl, TtlFromProto(proto.ttl(), {"header.ttl"}));
  }
  ALAYA_ASSIGN_OR_RETURN(header.index_kinds, FromProto(proto.index_options()));
  return header;
}

StatusOr<ImportChunk> FromProto(const v1::ImportContextRequest::Chunk& proto,
                                const RequestLimits& limits) {
  constexpr FieldPath kKey{"chunk.key"};
  constexpr FieldPath kValue{"chunk.value"};
  ImportChunk chunk;
  chunk.layer = LayerIndex{proto.layer()};
  chunk.token_begin = proto.token_begin();
  ALAYA_ASSIGN_OR_RETURN(chunk.key, FromProto(proto.key(), kKey));
  ALAYA_ASSIGN_OR_RETURN(chunk.value, FromProto(proto.value(), kValue));
  ALAYA_RETURN_IF_ERROR(CheckSameShape(chunk.value, kValue, chunk.key, kKey));
  const uint64_t tokens_max = limits.engine.max_context_tokens;
  if (chunk.token_begin >= tokens_max || chunk.key.tokens > tokens_max - chunk.token_begin) {
    return RequestError("TOKEN_RANGE", {"chunk.token_begin"},
                        std::to_string(chunk.token_begin) + " and " +
                            std::to_string(chunk.key.tokens) + " tokens pass max_context_tokens " +
                            std::to_string(tokens_max));
  }
  if (proto.has_query()) {
    ALAYA_ASSIGN_OR_RETURN(chunk.query, FromProto(proto.query(), {"chunk.query"}));
  }
  return chunk;
}

StatusOr<MatchParams> FromProto(const v1::MatchContextRequest& proto, const RequestLimits& limits) {
  MatchParams params;
  ALAYA_ASSIGN_OR_RETURN(params.model, ModelNameFromProto(proto.model(), {"model"}));
  ALAYA_ASSIGN_OR_RETURN(
      params.tokens,
      TokensFromProto(proto.tokens(), 0, limits.engine.max_context_tokens, {"tokens"}));
  return params;
}

StatusOr<ReadParams> FromProto(const v1::ReadContextRequest& proto) {
  ReadParams params;
  ALAYA_ASSIGN_OR_RETURN(params.context_id, IdFromProto(proto.context_id(), {"context_id"}));
  if (proto.has_token_range()) {
    ALAYA_ASSIGN_OR_RETURN(params.token_range, FromProto(proto.token_range(), {"token_range"}));
  }
  if (proto.layers_size() > kReadLayerCountMax) {
    return RequestError("LAYER_COUNT", {"layers"},
                        std::to_string(proto.layers_size()) + " layers, the most is 1024");
  }
  params.layers.assign(proto.layers().begin(), proto.layers().end());
  return params;
}

StatusOr<ListContextsParams> FromProto(const v1::ListContextsRequest& proto,
                                       std::string_view tenant) {
  ListContextsParams params;
  params.filter.tenant = tenant;
  params.listing = "contexts\n";
  if (proto.has_model()) {
    ALAYA_ASSIGN_OR_RETURN(params.filter.model, ModelNameFromProto(proto.model(), {"model"}));
    params.listing += *params.filter.model;
  }
  ALAYA_ASSIGN_OR_RETURN(params.filter.labels, LabelsFromProto(proto.labels(), {"labels"}));
  for (const auto& [key, value] : params.filter.labels) {
    params.listing.append("\n").append(key).append("=").append(value);
  }
  ALAYA_ASSIGN_OR_RETURN(params.page_size, PageSizeFromProto(proto.page_size()));
  ALAYA_ASSIGN_OR_RETURN(params.after_id, DecodePageToken(params.listing, proto.page_token()));
  return params;
}

StatusOr<UpdateContextParams> FromProto(const v1::UpdateContextRequest& proto,
                                        std::string_view tenant) {
  UpdateContextParams params;
  params.tenant = tenant;
  ALAYA_ASSIGN_OR_RETURN(params.context_id, IdFromProto(proto.context_id(), {"context_id"}));
  if (proto.has_pinned()) params.pinned = proto.pinned();
  if (proto.has_ttl()) {
    ALAYA_ASSIGN_OR_RETURN(params.ttl, DurationFromProto(proto.ttl(), {"ttl"}));
  }
  if (proto.has_labels()) {
    ALAYA_ASSIGN_OR_RETURN(params.labels, LabelsFromProto(proto.labels().labels(), {"labels"}));
  }
  return params;
}

StatusOr<SearchParams> FromProto(const v1::SearchContextRequest& proto, std::string_view tenant,
                                 const RequestLimits& limits) {
  SearchParams params;
  params.tenant = tenant;
  ALAYA_ASSIGN_OR_RETURN(params.context_id, IdFromProto(proto.context_id(), {"context_id"}));
  params.layer = LayerIndex{proto.layer()};
  ALAYA_ASSIGN_OR_RETURN(params.query, FromProto(proto.query(), {"query"}));
  if (params.query.tokens > limits.engine.max_queries_per_item) {
    return RequestLimitError({"query"}, std::to_string(params.query.tokens) +
                                            " queries, max_queries_per_item is " +
                                            std::to_string(limits.engine.max_queries_per_item));
  }
  switch (proto.target_case()) {
    case v1::SearchContextRequest::TARGET_NOT_SET:
      return RequestError("TARGET_MISSING", {"target"}, "one of dipr and top_k must be set");
    case v1::SearchContextRequest::kDipr: {
      ALAYA_ASSIGN_OR_RETURN(params.target, FromProto(proto.dipr(), {"target"}));
      break;
    }
    case v1::SearchContextRequest::kTopK: {
      ALAYA_ASSIGN_OR_RETURN(params.target, FromProto(proto.top_k(), {"target"}));
      break;
    }
  }
  if (proto.has_token_range()) {
    ALAYA_ASSIGN_OR_RETURN(params.token_range, FromProto(proto.token_range(), {"token_range"}));
  }
  if (proto.has_scale()) {
    ALAYA_ASSIGN_OR_RETURN(params.scale, ScaleFromProto(proto.scale(), {"scale"}));
  }
  return params;
}

void ToProto(const StoredContext& context, v1::Context* proto) {
  proto->set_context_id(context.id);
  proto->set_model(context.model->model.name);
  proto->set_token_count(context.token_count());
  proto->set_segment_count(static_cast<uint32_t>(context.chain.size()));
  proto->set_stored_bytes(context.kv_bytes());
  ToProto(context.labels, proto->mutable_labels());
  ToProto(context.create_time, proto->mutable_create_time());
  if (context.expire_time) ToProto(*context.expire_time, proto->mutable_expire_time());
  proto->set_pinned(context.pinned);
}

void ToProto(const SearchAnswer& answer, v1::SearchContextResponse* proto) {
  for (const std::vector<SearchHit>& hits : answer.heads) {
    v1::SearchContextResponse::Head* head = proto->add_heads();
    head->mutable_tokens()->Reserve(static_cast<int>(hits.size()));
    head->mutable_scores()->Reserve(static_cast<int>(hits.size()));
    for (const SearchHit& hit : hits) {
      head->add_tokens(hit.token);
      head->add_scores(hit.score);
    }
  }
  ToProto(answer.stats, proto->mutable_stats());
}

}  // namespace alaya
