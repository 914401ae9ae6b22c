// What imports and stored sessions have in common: the start and the end of writing
// a new context.

#ifndef ALAYA_SERVER_ENGINE_NEW_CONTEXT_H_
#define ALAYA_SERVER_ENGINE_NEW_CONTEXT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/engine/random_ids.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// What the caller said about the context.
struct NewContextRequest {
  std::string tenant;
  std::shared_ptr<const RegisteredModel> model;
  std::vector<TokenId> tokens;            // all of them, the prefix included
  std::optional<std::string> context_id;  // none: a random one
  Labels labels;
  std::optional<std::chrono::milliseconds> ttl;
};

class NewContext {
 public:
  // Checks the request and begins a context that shares `prefix`.
  //
  // `store` and `clock` must outlive the result.
  // Errors: InvalidArgument for tokens, id, labels or ttl; what the store says.
  static StatusOr<std::unique_ptr<NewContext>> Begin(NewContextRequest request,
                                                     std::vector<SegmentLink> prefix,
                                                     ContextStore* store, const Clock* clock,
                                                     RandomIds* ids);
  // Tokens, id, labels and ttl alone.
  static Status Check(const NewContextRequest& request, uint64_t token_count_max);

  uint64_t prefix_token_count() const { return prefix_token_count_; }
  uint64_t token_count() const { return token_count_; }
  ContextWriter& writer() { return *writer_; }

  // Commits; the time to live counts from here. Call once.
  StatusOr<ContextWriter::Committed> Commit();

 private:
  NewContext() = default;

  ContextStore* store_ = nullptr;
  const Clock* clock_ = nullptr;
  std::unique_ptr<ContextWriter> writer_;
  uint64_t prefix_token_count_ = 0;
  uint64_t token_count_ = 0;
  std::optional<std::chrono::milliseconds> ttl_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_NEW_CONTEXT_H_
