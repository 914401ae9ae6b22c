#include "server/engine/session.h"

#include <fmt/format.h>

#include <utility>

#include "server/engine/quota_error.h"
#include "storage/types/check.h"

namespace alaya {

Session::Session(SessionOwner owner, SessionPrefix prefix, Tail tail, WorkerPool* pool)
    : owner_(std::move(owner)),
      strand_(pool, pool->LaneOf(owner_.account->tenant())),
      prefix_(std::move(prefix)),
      tail_(std::move(tail)) {
  info_.session_id = owner_.session_id;
  info_.model = owner_.model->model.name;
  info_.create_time = owner_.create_time;
  Publish(owner_.create_time);
}

SessionInfo Session::info() const {
  const std::scoped_lock lock(mutex_);
  return info_;
}

Status Session::Append(LayerIndex layer, std::span<const std::byte> keys,
                       std::span<const std::byte> values, uint64_t tail_tokens_max) {
  const size_t count = keys.size() / (model().num_kv_heads * model().row_bytes());
  const uint64_t tail_tokens = tail_.token_count(layer) + count;
  if (ToInt(layer) > 0) {
    const LayerIndex before{ToInt(layer) - 1};
    if (tail_tokens > tail_.token_count(before)) {
      return FailedPrecondition(
          fmt::format("layer {} would hold {} tokens, layer {} before it holds {}", ToInt(layer),
                      prefix_.token_count() + tail_tokens, ToInt(before), token_count(before)));
    }
  }
  if (tail_tokens > tail_tokens_max) {
    return QuotaError({.subject = "session",
                       .description = fmt::format(
                           "it would hold {} tokens of its own, max_tail_tokens_per_session "
                           "is {}: store it and go on in a new one",
                           tail_tokens, tail_tokens_max)});
  }
  return tail_.Append(layer, keys, values);
}

void Session::UndoAppend(LayerIndex layer, uint64_t count) {
  tail_.Truncate(layer, tail_.token_count(layer) - count);
}

Status Session::Truncate(uint64_t token_count) {
  const uint64_t held = this->token_count(LayerIndex{0});
  if (token_count > held) {
    return InvalidArgument(
        fmt::format("token_count {}: the session holds {} tokens", token_count, held));
  }
  const uint64_t prefix_tokens = prefix_.token_count();
  const uint64_t tail_tokens = token_count > prefix_tokens ? token_count - prefix_tokens : 0;
  for (uint32_t i = 0; i < model().num_layers; ++i) {
    const LayerIndex layer{i};
    if (tail_.token_count(layer) > tail_tokens) tail_.Truncate(layer, tail_tokens);
  }
  if (token_count < prefix_tokens) {
    prefix_.chain = ChainPrefix(prefix_.chain, token_count);
    if (prefix_.chain.empty()) prefix_.context_id.clear();
  }
  return OkStatus();
}

std::shared_ptr<Session> Session::Fork(std::string session_id, WallTime now, WorkerPool* pool) {
  SessionOwner owner = owner_;
  owner.session_id = std::move(session_id);
  owner.create_time = now;
  return std::make_shared<Session>(std::move(owner), prefix_, tail_.Fork(), pool);
}

void Session::Rebase(const StoredContext& context) {
  for (uint32_t i = 0; i < model().num_layers; ++i) {
    ALAYA_CHECK(token_count(LayerIndex{i}) == context.token_count());
  }
  prefix_ = {context.id, context.chain};
  for (uint32_t i = 0; i < model().num_layers; ++i) tail_.Truncate(LayerIndex{i}, 0);
}

void Session::Close() {
  closed_ = true;
  share_.Release();
  prefix_ = {};
  for (uint32_t i = 0; i < model().num_layers; ++i) tail_.Truncate(LayerIndex{i}, 0);
}

Status Session::CheckOpen() const {
  if (!closed_) return OkStatus();
  return FailedPrecondition(fmt::format("session '{}' is closed", id()));
}

void Session::Publish(WallTime now) {
  const std::scoped_lock lock(mutex_);
  info_.context_id = prefix_.context_id;
  info_.reused_tokens = prefix_.token_count();
  info_.tail_tokens = tail_.token_count(LayerIndex{0});
  info_.tail_bytes = tail_.bytes();
  info_.last_use_time = now;
}

}  // namespace alaya
