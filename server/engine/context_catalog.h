// The stored contexts as callers see them: matching, listing, updating, deleting.

#ifndef ALAYA_SERVER_ENGINE_CONTEXT_CATALOG_H_
#define ALAYA_SERVER_ENGINE_CONTEXT_CATALOG_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "server/engine/engine.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any. Expired contexts are as good as gone, swept or not.
class ContextCatalog {
 public:
  // Both must outlive the catalog.
  ContextCatalog(ContextStore* store, const Clock* clock) : store_(store), clock_(clock) {}

  // Errors: NotFound.
  StatusOr<std::shared_ptr<const RegisteredModel>> FindModel(std::string_view name) const;
  StatusOr<std::shared_ptr<const StoredContext>> FindContext(std::string_view tenant,
                                                             std::string_view id) const;

  // The longest stored prefix; counts as a lookup. Errors: ContextStore::MatchPrefix's.
  StatusOr<PrefixMatch> Match(std::string_view tenant, ModelId model,
                              std::span<const TokenId> tokens);

  // Counts what a session that starts with these tokens finds in memory.
  void CountMemoryHit(const std::vector<SegmentLink>& chain) {
    memory_hit_tokens_.fetch_add(store_->ResidentTokens(chain), std::memory_order_relaxed);
  }

  StatusOr<std::shared_ptr<const StoredContext>> Update(const UpdateContextParams& params);
  StatusOr<uint64_t> Delete(std::string_view tenant, std::string_view id);

  uint64_t lookup_tokens() const { return lookup_tokens_.load(std::memory_order_relaxed); }
  uint64_t hit_tokens() const { return hit_tokens_.load(std::memory_order_relaxed); }
  uint64_t memory_hit_tokens() const { return memory_hit_tokens_.load(std::memory_order_relaxed); }

 private:
  ContextStore* store_;
  const Clock* clock_;
  std::atomic<uint64_t> lookup_tokens_{0};
  std::atomic<uint64_t> hit_tokens_{0};
  std::atomic<uint64_t> memory_hit_tokens_{0};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_CONTEXT_CATALOG_H_
