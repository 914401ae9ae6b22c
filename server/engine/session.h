// One running sequence: a prefix of stored segments plus a tail of its own tokens.
//
// Everything that reads or changes the sequence runs on the session's strand; info()
// is the only door for others.

#ifndef ALAYA_SERVER_ENGINE_SESSION_H_
#define ALAYA_SERVER_ENGINE_SESSION_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/engine/strand.h"
#include "server/engine/tail.h"
#include "server/engine/tenant_quota.h"
#include "storage/context/stored_context.h"

namespace alaya {

// Stored tokens that a session starts from.
struct SessionPrefix {
  std::string context_id;          // empty: none
  std::vector<SegmentLink> chain;  // holding it keeps the pages readable

  uint64_t token_count() const { return chain.empty() ? 0 : chain.back().range().end; }
};

struct SessionOwner {
  std::string session_id;
  std::shared_ptr<TenantAccount> account;
  std::shared_ptr<const RegisteredModel> model;
  WallTime create_time;
};

class Session {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  // `pool` must outlive the session's tasks.
  Session(SessionOwner owner, SessionPrefix prefix, Tail tail, WorkerPool* pool);

  const std::string& id() const { return owner_.session_id; }
  const std::shared_ptr<TenantAccount>& account() const { return owner_.account; }
  const std::string& tenant() const { return account()->tenant(); }
  const Model& model() const { return owner_.model->model; }
  const std::shared_ptr<const RegisteredModel>& registered_model() const { return owner_.model; }
  Strand& strand() { return strand_; }

  // As of the last Publish. Threads: any.
  SessionInfo info() const;

  // When somebody last asked for the session or it finished something. Threads: any.
  SteadyTime last_use() const { return last_use_.load(std::memory_order_relaxed); }
  void Touch(SteadyTime now) { last_use_.store(now, std::memory_order_relaxed); }

  // The rest: only on the strand.

  const SessionPrefix& prefix() const { return prefix_; }
  const Tail& tail() const { return tail_; }
  // Tokens of a layer: prefix and tail.
  uint64_t token_count(LayerIndex layer) const {
    return prefix_.token_count() + tail_.token_count(layer);
  }

  // Appends [T, num_kv_heads, head_dim] keys and values, in the model's dtype.
  //
  // Errors: FailedPrecondition if the layer would hold more tokens than the one
  //   before it; ResourceExhausted beyond `tail_tokens_max` or the tail budget.
  Status Append(LayerIndex layer, std::span<const std::byte> keys,
                std::span<const std::byte> values, uint64_t tail_tokens_max);
  // Takes the last `count` tokens of a layer back.
  void UndoAppend(LayerIndex layer, uint64_t count);

  // Keeps the first `token_count` tokens of every layer.
  // Errors: InvalidArgument if layer 0 holds fewer.
  Status Truncate(uint64_t token_count);

  // A session with the same tokens.
  std::shared_ptr<Session> Fork(std::string session_id, WallTime now, WorkerPool* pool);

  // Replaces prefix and tail by a stored context of the same tokens.
  // Requires: every layer holds exactly the context's tokens.
  void Rebase(const StoredContext& context);

  // Gives tail and prefix back. Tasks that were on their way to the strand meet a
  // closed session: they ask CheckOpen first, or would see a sequence without tokens.
  void Close();
  // Errors: FailedPrecondition.
  Status CheckOpen() const;

  // Counts the session against its tenant's quota until it is closed or gone. Before the
  // session is used.
  void Hold(TenantAccount::Share share) { share_ = std::move(share); }

  // Makes the present state visible to info().
  void Publish(WallTime now);

 private:
  const SessionOwner owner_;
  Strand strand_;

  // Only on the strand.
  SessionPrefix prefix_;
  Tail tail_;
  bool closed_ = false;
  TenantAccount::Share share_;

  std::atomic<SteadyTime> last_use_{SteadyTime()};
  mutable std::mutex mutex_;
  SessionInfo info_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SESSION_H_
