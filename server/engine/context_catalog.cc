#include "server/engine/context_catalog.h"

#include <fmt/format.h>

#include "server/engine/request_checks.h"

namespace alaya {

StatusOr<std::shared_ptr<const RegisteredModel>> ContextCatalog::FindModel(
    std::string_view name) const {
  return store_->FindModel(name);
}

StatusOr<std::shared_ptr<const StoredContext>> ContextCatalog::FindContext(
    std::string_view tenant, std::string_view id) const {
  ALAYA_ASSIGN_OR_RETURN(std::shared_ptr<const StoredContext> context,
                         store_->FindContext(tenant, id));
  if (context->expired_at(clock_->now())) {
    return NotFound(fmt::format("context '{}' has expired", id));
  }
  context->Touch(clock_->now());
  return context;
}

StatusOr<PrefixMatch> ContextCatalog::Match(std::string_view tenant, ModelId model,
                                            std::span<const TokenId> tokens) {
  ALAYA_ASSIGN_OR_RETURN(PrefixMatch match,
                         store_->MatchPrefix(tenant, model, tokens, clock_->now()));
  if (match.context != nullptr) match.context->Touch(clock_->now());
  lookup_tokens_.fetch_add(tokens.size(), std::memory_order_relaxed);
  hit_tokens_.fetch_add(match.matched_tokens, std::memory_order_relaxed);
  return match;
}

StatusOr<std::shared_ptr<const StoredContext>> ContextCatalog::Update(
    const UpdateContextParams& params) {
  ContextUpdate update;
  update.pinned = params.pinned;
  if (params.ttl) {
    if (params.ttl->count() < 0) {
      return InvalidArgument(fmt::format("ttl of {} ms: must be >= 0", params.ttl->count()));
    }
    update.expire_time.emplace();
    if (params.ttl->count() > 0) *update.expire_time = clock_->now() + *params.ttl;
  }
  if (params.labels) {
    ALAYA_RETURN_IF_ERROR(CheckLabels(*params.labels));
    update.labels = params.labels;
  }
  ALAYA_RETURN_IF_ERROR(FindContext(params.tenant, params.context_id).status());
  return store_->UpdateContext(params.tenant, params.context_id, update);
}

StatusOr<uint64_t> ContextCatalog::Delete(std::string_view tenant, std::string_view id) {
  ALAYA_RETURN_IF_ERROR(FindContext(tenant, id).status());
  return store_->DeleteContext(tenant, id);
}

}  // namespace alaya
