#include "server/engine/session_storing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/token_gather.h"

namespace alaya {
namespace {

// Keys, or values, that are copied to the store at a time.
constexpr size_t kPieceBytesMax = size_t{1} << 20;

Status CheckSessionTokens(const Session& session, std::span<const TokenId> tokens,
                          const ContextStore& store) {
  const uint64_t token_count = session.token_count(LayerIndex{0});
  for (uint32_t i = 1; i < session.model().num_layers; ++i) {
    const uint64_t layer_count = session.token_count(LayerIndex{i});
    if (layer_count == token_count) continue;
    return FailedPrecondition(
        fmt::format("layer {} holds {} tokens, layer 0 holds {}", i, layer_count, token_count));
  }
  if (tokens.size() != token_count) {
    return InvalidArgument(
        fmt::format("{} tokens are named, the session holds {}", tokens.size(), token_count));
  }
  const std::vector<SegmentLink>& prefix = session.prefix().chain;
  ALAYA_ASSIGN_OR_RETURN(const uint64_t common, store.CountCommonTokens(prefix, tokens));
  if (common == session.prefix().token_count()) return OkStatus();
  ALAYA_ASSIGN_OR_RETURN(const auto stored, store.ReadTokens(prefix, {common, common + 1}));
  return InvalidArgument(fmt::format("token {} is {}, the session's reused prefix has {}", common,
                                     tokens[common], stored.front()));
}

// Writes a layer's tail tokens from `begin` on, a piece at a time.
Status WriteLayer(const Session& session, LayerIndex layer, uint64_t begin, ContextWriter* writer) {
  const Model& model = session.model();
  const uint64_t end = session.tail().token_count(layer);
  const size_t token_bytes = model.num_kv_heads * model.row_bytes();
  const uint64_t piece_tokens = std::max<uint64_t>(1, kPieceBytesMax / token_bytes);
  std::string keys;
  std::string values;
  for (; begin < end; begin += piece_tokens) {
    const TokenRange piece{begin, std::min(begin + piece_tokens, end)};
    keys.resize(piece.size() * token_bytes);
    values.resize(piece.size() * token_bytes);
    const auto key_bytes = std::as_writable_bytes(std::span(keys));
    const auto value_bytes = std::as_writable_bytes(std::span(values));
    for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
      const TailReader reader(session.tail(), layer, KvHeadIndex{head}, model.head_dim);
      ALAYA_RETURN_IF_ERROR(
          GatherHead(reader, KvKind::kKey, piece, head, model.num_kv_heads, key_bytes));
      ALAYA_RETURN_IF_ERROR(
          GatherHead(reader, KvKind::kValue, piece, head, model.num_kv_heads, value_bytes));
    }
    ALAYA_RETURN_IF_ERROR(writer->Append(layer, key_bytes, value_bytes));
  }
  return OkStatus();
}

}  // namespace

StatusOr<ImportResult> StoreSessionAsContext(const StoreSessionParams& params,
                                             const NewContextTools& tools,
                                             const EngineLimits& limits, Session* session) {
  NewContextRequest request{params.tenant,     session->registered_model(),
                            params.tokens,     params.context_id,
                            params.labels,     params.ttl,
                            /*index_kinds=*/{}};
  ALAYA_RETURN_IF_ERROR(NewContext::Check(request, limits.max_context_tokens));
  ALAYA_RETURN_IF_ERROR(CheckSessionTokens(*session, params.tokens, *tools.store));

  // Another session may have stored more of the same tokens meanwhile; the session's
  // own prefix may belong to a context that is deleted and matches no more.
  std::vector<SegmentLink> prefix = session->prefix().chain;
  ALAYA_ASSIGN_OR_RETURN(const PrefixMatch match,
                         tools.store->MatchPrefix(params.tenant, session->registered_model()->id,
                                                  params.tokens, tools.clock->now()));
  if (match.matched_tokens > session->prefix().token_count()) {
    prefix = ChainPrefix(match.context->chain, match.matched_tokens);
  }
  ALAYA_ASSIGN_OR_RETURN(const std::unique_ptr<NewContext> context,
                         NewContext::Begin(std::move(request), std::move(prefix), tools));
  const uint64_t first_tail_token = context->prefix_token_count() - session->prefix().token_count();
  for (uint32_t layer = 0; layer < session->model().num_layers; ++layer) {
    ALAYA_RETURN_IF_ERROR(
        WriteLayer(*session, LayerIndex{layer}, first_tail_token, &context->writer()));
  }
  ALAYA_ASSIGN_OR_RETURN(const ContextWriter::Committed committed, context->Commit());
  session->Rebase(*committed.context);
  return ImportResult{committed.context->id, context->prefix_token_count(), committed.stored_bytes};
}

}  // namespace alaya
