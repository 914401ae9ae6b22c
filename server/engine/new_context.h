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
#include "server/engine/index_builder.h"
#include "server/engine/random_ids.h"
#include "server/engine/segment_merger.h"
#include "server/engine/tenant_quota.h"
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
  std::vector<IndexKind> index_kinds;  // as ImportHeader's
};

// What new contexts are written with; all of it must outlive them.
struct NewContextTools {
  ContextStore* store = nullptr;
  const Clock* clock = nullptr;
  RandomIds* ids = nullptr;
  IndexBuilder* index_builder = nullptr;    // null: no indexes are built
  SegmentMerger* segment_merger = nullptr;  // null: nothing is joined
  TenantQuota* tenants = nullptr;           // null: nobody has a quota
};

class NewContext {
 public:
  // Checks the request and begins a context that shares `prefix`.
  //
  // Errors: InvalidArgument for tokens, id, labels or ttl; ResourceExhausted if the tenant
  //   may not store so much; what the store says.
  static StatusOr<std::unique_ptr<NewContext>> Begin(NewContextRequest request,
                                                     std::vector<SegmentLink> prefix,
                                                     const NewContextTools& tools);
  // Tokens, id, labels and ttl alone.
  static Status Check(const NewContextRequest& request, uint64_t token_count_max);

  uint64_t prefix_token_count() const { return prefix_token_count_; }
  uint64_t token_count() const { return token_count_; }
  ContextWriter& writer() { return *writer_; }

  // Commits and queues the new segment's indexes; the time to live counts from here.
  // Call once.
  StatusOr<ContextWriter::Committed> Commit();

 private:
  explicit NewContext(const NewContextTools& tools) : tools_(tools) {}

  const NewContextTools tools_;
  std::unique_ptr<ContextWriter> writer_;
  uint64_t prefix_token_count_ = 0;
  uint64_t token_count_ = 0;
  std::optional<std::chrono::milliseconds> ttl_;
  // What will be stored, until it is or is given up.
  TenantAccount::Share stored_bytes_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_NEW_CONTEXT_H_
