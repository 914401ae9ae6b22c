#include "server/engine/new_context.h"

#include <cstddef>
#include <utility>

#include "server/engine/request_checks.h"

namespace alaya {

Status NewContext::Check(const NewContextRequest& request, uint64_t token_count_max) {
  ALAYA_RETURN_IF_ERROR(CheckContextTokens(request.tokens.size(), token_count_max));
  if (request.context_id) ALAYA_RETURN_IF_ERROR(CheckContextId(*request.context_id));
  ALAYA_RETURN_IF_ERROR(CheckLabels(request.labels));
  return CheckTimeToLive(request.ttl);
}

StatusOr<std::unique_ptr<NewContext>> NewContext::Begin(NewContextRequest request,
                                                        std::vector<SegmentLink> prefix,
                                                        const NewContextTools& tools) {
  std::unique_ptr<NewContext> context(new NewContext(tools));
  context->prefix_token_count_ = prefix.empty() ? 0 : prefix.back().range().end;
  context->token_count_ = request.tokens.size();
  context->ttl_ = request.ttl;
  if (tools.tenants != nullptr) {
    const auto account = tools.tenants->AccountOf(request.tenant);
    const uint64_t stored_bytes =
        account->limits_storage() ? tools.store->StoredBytes(request.tenant) : 0;
    const uint64_t new_tokens = context->token_count_ - context->prefix_token_count_;
    ALAYA_ASSIGN_OR_RETURN(
        context->stored_bytes_,
        TenantAccount::TakeStorage(account, stored_bytes,
                                   new_tokens * request.model->model.token_bytes()));
  }

  ContextDraft draft;
  draft.id = request.context_id ? std::move(*request.context_id) : tools.ids->Next();
  draft.tenant = std::move(request.tenant);
  draft.model = std::move(request.model);
  draft.prefix = std::move(prefix);
  draft.tokens.assign(request.tokens.begin() + static_cast<ptrdiff_t>(context->prefix_token_count_),
                      request.tokens.end());
  draft.labels = std::move(request.labels);
  for (const IndexKind kind : request.index_kinds) {
    draft.wanted_indexes.push_back(static_cast<uint8_t>(kind));
  }
  draft.create_time = tools.clock->now();
  if (request.ttl) draft.expire_time = draft.create_time + *request.ttl;
  ALAYA_ASSIGN_OR_RETURN(context->writer_, tools.store->BeginContext(std::move(draft)));
  return context;
}

StatusOr<ContextWriter::Committed> NewContext::Commit() {
  ALAYA_ASSIGN_OR_RETURN(ContextWriter::Committed committed, writer_->Commit());
  if (tools_.index_builder != nullptr) tools_.index_builder->Enqueue(committed.context->chain);
  if (tools_.segment_merger != nullptr) tools_.segment_merger->Wake();
  if (!ttl_) return committed;
  const WallTime expire_time = tools_.clock->now() + *ttl_;
  if (expire_time == committed.context->expire_time) return committed;
  // The draft's expiry counted from the start of a possibly long import. If moving it
  // fails the context is stored all the same and keeps the earlier one.
  ContextUpdate update;
  update.expire_time.emplace(expire_time);
  if (auto updated =
          tools_.store->UpdateContext(committed.context->tenant, committed.context->id, update);
      updated.ok()) {
    committed.context = *std::move(updated);
  }
  return committed;
}

}  // namespace alaya
