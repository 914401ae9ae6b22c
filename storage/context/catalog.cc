#include "storage/context/catalog.h"

#include <algorithm>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

// Segment ids are made durable in batches of this many: a crash skips the rest.
constexpr uint64_t kIdBatch = 1024;
// Deleted contexts whose place in lists is remembered.
constexpr size_t kDeletedPositionsMax = 10'000;

std::string Quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

void Put(Record record, CatalogBatch* batch) {
  batch->Put(std::move(record.key), std::move(record.value));
}

Record EncodeContext(const StoredContext& context) {
  ContextRecord record;
  record.tenant = context.tenant;
  record.id = context.id;
  record.model = context.model->id;
  for (const SegmentLink& link : context.chain) {
    record.chain.push_back({link.segment->id, link.token_count});
  }
  record.labels = context.labels;
  record.create_time = context.create_time;
  record.expire_time = context.expire_time;
  record.pinned = context.pinned;
  return EncodeRecord(record);
}

void PutIndex(const Segment& segment, const StoredIndex& index, CatalogBatch* batch) {
  Put(EncodeRecord(IndexRecord{.segment = segment.id,
                               .kind = index.kind,
                               .id = index.id,
                               .version = index.version,
                               .block_counts = index.block_counts,
                               .stored_bytes = index.stored_bytes}),
      batch);
}

void PutSegment(const Segment& segment, CatalogBatch* batch) {
  Put(EncodeRecord(SegmentRecord{.id = segment.id,
                                 .model = segment.model->id,
                                 .tenant = segment.tenant,
                                 .token_begin = segment.token_begin,
                                 .token_count = segment.token_count,
                                 .query_counts = segment.query_counts,
                                 .stored_bytes = segment.stored_bytes,
                                 .wanted_indexes = segment.wanted_indexes}),
      batch);
  for (const StoredIndex* index : segment.indexes.list()) PutIndex(segment, *index, batch);
}

void PutTokens(SegmentId segment, std::span<const TokenId> tokens, CatalogBatch* batch) {
  for (size_t begin = 0; begin < tokens.size(); begin += kTokensPerRecord) {
    const size_t count = std::min(kTokensPerRecord, tokens.size() - begin);
    Put(EncodeRecord(segment, static_cast<uint32_t>(begin / kTokensPerRecord),
                     tokens.subspan(begin, count)),
        batch);
  }
}

// Its tokens stay as long as somebody holds it: EraseTokens.
void EraseSegment(const Segment& segment, CatalogBatch* batch) {
  batch->Erase(SegmentKey(segment.id));
  for (const StoredIndex* index : segment.indexes.list()) {
    batch->Erase(IndexKey(segment.id, index->kind));
  }
}

bool HasLabels(const StoredContext& context, const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& label) {
    const auto found = context.labels.find(label.first);
    return found != context.labels.end() && found->second == label.second;
  });
}

// The chain with some of its segments replaced by what they were joined into: `joined`
// returns that, or the segment itself. Links that fall together become one.
template <typename Joined>
std::vector<SegmentLink> ReplaceLinks(const std::vector<SegmentLink>& chain, Joined joined) {
  std::vector<SegmentLink> replaced;
  for (const SegmentLink& link : chain) {
    std::shared_ptr<const Segment> segment = joined(link.segment);
    const uint64_t token_count = link.range().end - segment->token_begin;
    if (!replaced.empty() && replaced.back().segment == segment) {
      replaced.back().token_count = token_count;
    } else {
      replaced.push_back({std::move(segment), token_count});
    }
  }
  return replaced;
}

}  // namespace

Catalog::ListKey Catalog::MakeListKey(const StoredContext& context) {
  return {-context.create_time.time_since_epoch().count(), context.id};
}

// ---- Writing

Status Catalog::WritePendingUndos() {
  while (!pending_undos_.empty()) {
    ALAYA_RETURN_IF_ERROR(database_->WriteCatalog(pending_undos_.back().batch));
    pending_undos_.pop_back();
  }
  return OkStatus();
}

// A failed write is unknown, so it is undone; every batch can be repeated without
// harm. `named` is what the batch is about: its pages stay while that is unknown.
Status Catalog::WriteDurably(const CatalogBatch& batch, CatalogBatch undo,
                             std::shared_ptr<const void> named) {
  ALAYA_RETURN_IF_ERROR(
      Annotate(WritePendingUndos(), "an earlier failed write could not be undone yet"));
  Status written = database_->WriteCatalog(batch);
  if (written.ok()) return OkStatus();
  pending_undos_.push_back({std::move(undo), std::move(named)});
  const Status undone = WritePendingUndos();
  if (undone.ok()) return written;
  return Annotate(written, "this change is not in effect, but may be after a restart");
}

StatusOr<SegmentId> Catalog::AllocateSegmentId() {
  const std::lock_guard write_lock(write_mutex_);
  if (next_segment_id_ == segment_id_limit_) {
    CatalogBatch batch;
    Put(EncodeRecord(IdLimitRecord{segment_id_limit_ + kIdBatch}), &batch);
    // Nothing to undo: a limit that is too high only skips ids.
    ALAYA_RETURN_IF_ERROR(WriteDurably(batch, {}, nullptr));
    segment_id_limit_ += kIdBatch;
  }
  return SegmentId{next_segment_id_++};
}

StatusOr<bool> Catalog::RegisterModel(const Model& model) {
  ALAYA_RETURN_IF_ERROR(CheckStorable(model));
  const std::lock_guard write_lock(write_mutex_);
  if (const auto known = models_.find(model.name); known != models_.end()) {
    if (known->second->model == model) return false;
    return AlreadyExists("model " + Quoted(model.name) + " is registered with another shape");
  }
  auto registered = std::make_shared<RegisteredModel>();
  registered->id = ModelId{static_cast<uint32_t>(models_.size() + 1)};  // models stay
  registered->model = model;
  CatalogBatch batch;
  Put(EncodeRecord(*registered), &batch);
  CatalogBatch undo;
  undo.Erase(batch.puts.front().first);
  ALAYA_RETURN_IF_ERROR(WriteDurably(batch, std::move(undo), nullptr));
  const std::unique_lock state_lock(state_mutex_);
  models_[model.name] = std::move(registered);
  return true;
}

Status Catalog::ReserveName(const ContextName& name) {
  const std::unique_lock state_lock(state_mutex_);
  if (contexts_.contains(name)) return AlreadyExists("context " + Quoted(name.second) + " exists");
  if (!reserved_names_.insert(name).second) {
    return AlreadyExists("context " + Quoted(name.second) + " is being written");
  }
  return OkStatus();
}

void Catalog::ReleaseName(const ContextName& name) {
  const std::unique_lock state_lock(state_mutex_);
  reserved_names_.erase(name);
}

Status Catalog::Commit(const std::shared_ptr<StoredContext>& context, const NewTokens& new_tokens) {
  const std::lock_guard write_lock(write_mutex_);
  context->chain = CurrentChain(context->chain);
  ALAYA_ASSIGN_OR_RETURN(const PrefixTree::Place place, FindPlace(*context, new_tokens));
  CatalogBatch batch;
  CatalogBatch undo;
  for (const SegmentLink& link : context->chain) {
    if (segments_.contains(link.segment->id)) continue;
    PutSegment(*link.segment, &batch);
    EraseSegment(*link.segment, &undo);
  }
  if (new_tokens.segment != nullptr) {
    PutTokens(new_tokens.segment->id, new_tokens.tokens, &batch);
  }
  Put(EncodeContext(*context), &batch);
  undo.Erase(batch.puts.back().first);
  ALAYA_RETURN_IF_ERROR(WriteDurably(batch, std::move(undo), context));
  const std::unique_lock state_lock(state_mutex_);
  AddToMemory(context, place);
  if (merge_.segments_min > 0) unmerged_names_.emplace(context->tenant, context->id);
  return OkStatus();
}

Status Catalog::EraseTokens(SegmentId id, uint64_t token_count) {
  CatalogBatch batch;
  for (uint32_t chunk = 0; chunk * uint64_t{kTokensPerRecord} < token_count; ++chunk) {
    batch.Erase(TokensKey(id, chunk));
  }
  const std::lock_guard write_lock(write_mutex_);
  // Nothing to undo: they are nobody's.
  return batch.empty() ? OkStatus() : WriteDurably(batch, {}, nullptr);
}

// Requires write_mutex_: the tree must not change before the context is inserted.
StatusOr<PrefixTree::Place> Catalog::FindPlace(const StoredContext& context,
                                               const NewTokens& new_tokens) {
  const TokenSource read = [this, &new_tokens](const Segment& segment, uint64_t offset,
                                               uint64_t wanted_count) -> StatusOr<TokenStretch> {
    if (&segment == new_tokens.segment) return TokenStretch(new_tokens.tokens.subspan(offset));
    return tokens_->Read(segment, offset, wanted_count);
  };
  const PrefixTree* tree = nullptr;
  {
    const std::unique_lock state_lock(state_mutex_);
    tree = &TreeOf(context);
  }
  return tree->FindPlace(context, read);
}

Status Catalog::CommitIndex(const Segment& segment, std::shared_ptr<const StoredIndex> index) {
  const std::lock_guard write_lock(write_mutex_);
  if (!segments_.contains(segment.id)) {
    return NotFound("segment " + std::to_string(ToInt(segment.id)) + " was deleted");
  }
  CatalogBatch batch;
  PutIndex(segment, *index, &batch);
  CatalogBatch undo;
  const StoredIndex* replaced = segment.indexes.find(index->kind);
  if (replaced != nullptr) {
    PutIndex(segment, *replaced, &undo);
  } else {
    undo.Erase(batch.puts.front().first);
  }
  ALAYA_RETURN_IF_ERROR(WriteDurably(batch, std::move(undo), index));
  const std::unique_lock state_lock(state_mutex_);
  if (replaced != nullptr) index_ids_.erase(replaced->id);
  index_ids_.insert(index->id);
  segment.indexes.Publish(std::move(index));
  return OkStatus();
}

StatusOr<Catalog::ContextPointer> Catalog::UpdateContext(std::string_view tenant,
                                                         std::string_view id,
                                                         const ContextUpdate& update) {
  const std::lock_guard write_lock(write_mutex_);
  ALAYA_ASSIGN_OR_RETURN(const ContextPointer old, FindContext(tenant, id));
  auto updated = std::make_shared<StoredContext>(*old);
  if (update.pinned) updated->pinned = *update.pinned;
  if (update.expire_time) updated->expire_time = *update.expire_time;
  if (update.labels) updated->labels = *update.labels;
  CatalogBatch batch;
  Put(EncodeContext(*updated), &batch);
  CatalogBatch undo;
  Put(EncodeContext(*old), &undo);
  ALAYA_RETURN_IF_ERROR(WriteDurably(batch, std::move(undo), nullptr));
  const std::unique_lock state_lock(state_mutex_);
  ReplaceInMemory(old, updated);
  return ContextPointer(std::move(updated));
}

StatusOr<uint64_t> Catalog::DeleteContexts(const std::vector<ContextPointer>& contexts) {
  std::map<SegmentId, uint64_t> dropped_links;
  std::map<SegmentId, const Segment*> unlinked;
  CatalogBatch batch;
  CatalogBatch undo;
  for (const ContextPointer& context : contexts) {
    batch.Erase(ContextKey(context->tenant, context->id));
    Put(EncodeContext(*context), &undo);
    for (const SegmentLink& link : context->chain) {
      const SegmentId segment = link.segment->id;
      if (++dropped_links[segment] == segments_.at(segment).link_count) {
        unlinked[segment] = link.segment.get();
      }
    }
  }
  uint64_t freed_bytes = 0;
  for (const auto& [id, segment] : unlinked) {
    EraseSegment(*segment, &batch);
    PutSegment(*segment, &undo);
    freed_bytes += segment->stored_bytes_with_indexes();
  }
  ALAYA_RETURN_IF_ERROR(WriteDurably(batch, std::move(undo), nullptr));
  const std::unique_lock state_lock(state_mutex_);
  for (const ContextPointer& context : contexts) {
    RemoveFromMemory(context);
    RememberPosition(*context);
  }
  return freed_bytes;
}

StatusOr<uint64_t> Catalog::DeleteContext(std::string_view tenant, std::string_view id) {
  const std::lock_guard write_lock(write_mutex_);
  ALAYA_ASSIGN_OR_RETURN(ContextPointer context, FindContext(tenant, id));
  return DeleteContexts({std::move(context)});
}

StatusOr<size_t> Catalog::DeleteExpired(WallTime now) {
  const std::lock_guard write_lock(write_mutex_);
  std::vector<ContextPointer> expired;
  for (const auto& [expire_time, name] : expiries_) {
    if (expire_time > now) break;
    expired.push_back(contexts_.at(name));
  }
  if (expired.empty()) return size_t{0};
  ALAYA_RETURN_IF_ERROR(DeleteContexts(expired).status());
  return expired.size();
}

// ---- Merging

// Whoever began to write a context may have found segments that were joined since.
std::vector<SegmentLink> Catalog::CurrentChain(const std::vector<SegmentLink>& chain) const {
  return ReplaceLinks(chain, [this](const std::shared_ptr<const Segment>& segment) {
    std::shared_ptr<const Segment> current = segment;
    while (current != nullptr && !segments_.contains(current->id)) {
      current = current->joined_into.lock();
    }
    return current != nullptr ? current : segment;
  });
}

std::vector<std::shared_ptr<const Segment>> Catalog::TakeMergeRun() {
  const auto is_only_successor = [this](const Segment& before, const Segment& after) {
    const auto& successors = segments_.at(before.id).successors;
    return successors.size() == 1 && successors[0].first == after.id;
  };
  for (;;) {
    // For one context at a time: readers wait for it.
    const std::unique_lock state_lock(state_mutex_);
    if (unmerged_names_.empty()) return {};
    const auto name = unmerged_names_.begin();
    const ContextPointer context = Find(*name);
    unmerged_names_.erase(name);
    if (context == nullptr) continue;
    auto run = FindMergeRun(context->chain, is_only_successor, merge_);
    if (!run.empty()) return run;
  }
}

void Catalog::RetryMerge(const Segment& segment) {
  const std::unique_lock state_lock(state_mutex_);
  for (const auto& [name, context] : contexts_) {
    if (context->chain.back().segment->id == segment.id) unmerged_names_.insert(name);
  }
}

Status Catalog::ReplaceRun(const std::vector<std::shared_ptr<const Segment>>& run,
                           const std::shared_ptr<const Segment>& merged,
                           std::span<const TokenId> tokens) {
  const std::lock_guard write_lock(write_mutex_);
  std::set<SegmentId> run_ids;
  CatalogBatch batch;
  CatalogBatch undo;
  for (const auto& segment : run) {
    if (!segments_.contains(segment->id)) {
      return NotFound("segment " + std::to_string(ToInt(segment->id)) + " was deleted");
    }
    run_ids.insert(segment->id);
    EraseSegment(*segment, &batch);
    PutSegment(*segment, &undo);
  }
  PutSegment(*merged, &batch);
  PutTokens(merged->id, tokens, &batch);
  EraseSegment(*merged, &undo);
  std::vector<std::pair<ContextPointer, ContextPointer>> replaced;  // old, new
  for (const auto& [name, context] : contexts_) {
    const bool links_to_run = std::ranges::any_of(context->chain, [&](const SegmentLink& link) {
      return run_ids.contains(link.segment->id);
    });
    if (!links_to_run) continue;
    auto updated = std::make_shared<StoredContext>(*context);
    updated->chain =
        ReplaceLinks(context->chain, [&](const std::shared_ptr<const Segment>& segment) {
          return run_ids.contains(segment->id) ? merged : segment;
        });
    Put(EncodeContext(*updated), &batch);
    Put(EncodeContext(*context), &undo);
    replaced.emplace_back(context, std::move(updated));
  }
  ALAYA_RETURN_IF_ERROR(WriteDurably(batch, std::move(undo), merged));
  const std::unique_lock state_lock(state_mutex_);
  for (const auto& [old, updated] : replaced) {
    ReplaceInMemory(old, updated);
    // It may go on: what was joined may be of a size with what lies before it.
    if (updated->chain.back().segment == merged) {
      unmerged_names_.emplace(updated->tenant, updated->id);
    }
  }
  for (const auto& segment : run) segment->joined_into = merged;
  return OkStatus();
}

// ---- Memory

PrefixTree& Catalog::TreeOf(const StoredContext& context) {
  return trees_[{context.tenant, context.model->id}];
}

void Catalog::AddToMemory(const ContextPointer& context, const PrefixTree::Place& place) {
  contexts_[{context->tenant, context->id}] = context;
  contexts_memory_bytes_ += MemoryBytes(*context);
  lists_[context->tenant][MakeListKey(*context)] = context;
  TreeOf(*context).Insert(place, context);
  AddExpiry(*context);
  AddLinks(context->chain);
}

void Catalog::ReplaceInMemory(const ContextPointer& old, const ContextPointer& updated) {
  const ContextName name(old->tenant, old->id);
  contexts_[name] = updated;
  contexts_memory_bytes_ += MemoryBytes(*updated) - MemoryBytes(*old);
  lists_[old->tenant][MakeListKey(*old)] = updated;
  TreeOf(*old).Replace(updated);
  if (old->expire_time) expiries_.erase({*old->expire_time, name});
  AddExpiry(*updated);
  AddLinks(updated->chain);
  RemoveLinks(old->chain);
}

void Catalog::RemoveFromMemory(const ContextPointer& context) {
  const ContextName name(context->tenant, context->id);
  contexts_.erase(name);
  contexts_memory_bytes_ -= MemoryBytes(*context);
  lists_[context->tenant].erase(MakeListKey(*context));
  TreeOf(*context).Remove(context->id);
  if (context->expire_time) expiries_.erase({*context->expire_time, name});
  RemoveLinks(context->chain);
}

void Catalog::AddExpiry(const StoredContext& context) {
  if (context.pinned || !context.expire_time) return;
  expiries_.emplace(*context.expire_time, ContextName(context.tenant, context.id));
}

void Catalog::AddLinks(const std::vector<SegmentLink>& chain) {
  for (const SegmentLink& link : chain) {
    LinkedSegment& linked = segments_[link.segment->id];
    if (++linked.link_count > 1) continue;
    linked.segment = link.segment;
    for (const StoredIndex* index : link.segment->indexes.list()) index_ids_.insert(index->id);
  }
  CountSuccessors(chain, 1);
}

void Catalog::CountSuccessors(const std::vector<SegmentLink>& chain, int64_t change) {
  for (size_t i = 0; i + 1 < chain.size(); ++i) {
    auto& successors = segments_.at(chain[i].segment->id).successors;
    const SegmentId id = chain[i + 1].segment->id;
    auto successor = std::ranges::find(successors, id, &std::pair<SegmentId, uint64_t>::first);
    if (successor == successors.end()) successor = successors.insert(successor, {id, 0});
    successor->second += static_cast<uint64_t>(change);
    if (successor->second == 0) successors.erase(successor);
  }
}

void Catalog::RemoveLinks(const std::vector<SegmentLink>& chain) {
  CountSuccessors(chain, -1);
  for (const SegmentLink& link : chain) {
    const auto linked = segments_.find(link.segment->id);
    if (--linked->second.link_count > 0) continue;
    for (const StoredIndex* index : link.segment->indexes.list()) index_ids_.erase(index->id);
    segments_.erase(linked);
  }
}

void Catalog::RememberPosition(const StoredContext& context) {
  const ContextName name(context.tenant, context.id);
  if (deleted_positions_.insert_or_assign(name, MakeListKey(context)).second) {
    deleted_names_.push_back(name);
  }
  if (deleted_names_.size() > kDeletedPositionsMax) {
    deleted_positions_.erase(deleted_names_.front());
    deleted_names_.pop_front();
  }
}

// ---- Reading

StatusOr<Catalog::ModelPointer> Catalog::FindModel(std::string_view name) const {
  const std::shared_lock state_lock(state_mutex_);
  const auto model = models_.find(name);
  if (model == models_.end()) return NotFound("model " + Quoted(name) + " is not registered");
  return model->second;
}

std::vector<Catalog::ModelPointer> Catalog::ListModels() const {
  const std::shared_lock state_lock(state_mutex_);
  std::vector<ModelPointer> models;
  models.reserve(models_.size());
  for (const auto& [name, model] : models_) models.push_back(model);
  return models;
}

Catalog::ContextPointer Catalog::Find(const ContextName& name) const {
  const auto context = contexts_.find(name);
  return context == contexts_.end() ? nullptr : context->second;
}

StatusOr<Catalog::ContextPointer> Catalog::FindContext(std::string_view tenant,
                                                       std::string_view id) const {
  const std::shared_lock state_lock(state_mutex_);
  ContextPointer context = Find({std::string(tenant), std::string(id)});
  if (context == nullptr) return NotFound("context " + Quoted(id) + " does not exist");
  return context;
}

StatusOr<PrefixMatch> Catalog::MatchPrefix(std::string_view tenant, ModelId model,
                                           std::span<const TokenId> tokens, WallTime now) const {
  PrefixMatch match;
  {
    const std::shared_lock state_lock(state_mutex_);
    const auto tree = trees_.find({std::string(tenant), model});
    if (tree == trees_.end()) return match;
    match.context = tree->second.FindCandidate(tokens, now);
  }
  if (match.context == nullptr) return match;
  // Without a lock, as it may read from disk: who holds a context may read its tokens.
  StatusOr<uint64_t> matched = CountCommonTokens(match.context->chain, tokens, tokens_->source());
  if (!matched.ok()) return Annotate(matched.status(), "context " + Quoted(match.context->id));
  match.matched_tokens = *matched;
  return match.matched_tokens > 0 ? match : PrefixMatch();
}

Catalog::ListKey Catalog::ListPosition(const ContextName& name) const {
  if (const ContextPointer context = Find(name)) return MakeListKey(*context);
  const auto deleted = deleted_positions_.find(name);
  if (deleted != deleted_positions_.end()) return deleted->second;
  return {INT64_MAX, {}};
}

std::vector<Catalog::ContextPointer> Catalog::ListContexts(const ContextFilter& filter,
                                                           std::string_view after_id,
                                                           size_t limit) const {
  const std::shared_lock state_lock(state_mutex_);
  std::vector<ContextPointer> contexts;
  const auto list = lists_.find(filter.tenant);
  if (list == lists_.end()) return contexts;
  auto entry = list->second.begin();
  if (!after_id.empty()) {
    entry = list->second.upper_bound(ListPosition({filter.tenant, std::string(after_id)}));
  }
  for (; entry != list->second.end() && contexts.size() < limit; ++entry) {
    const ContextPointer& context = entry->second;
    if (filter.model && context->model->model.name != *filter.model) continue;
    if (!HasLabels(*context, filter.labels)) continue;
    contexts.push_back(context);
  }
  return contexts;
}

std::vector<std::string> Catalog::ListTenants() const {
  const std::shared_lock state_lock(state_mutex_);
  std::vector<std::string> tenants;
  for (const auto& [tenant, contexts] : lists_) {
    if (!contexts.empty()) tenants.push_back(tenant);
  }
  return tenants;
}

bool Catalog::IsLinked(SegmentId id) const {
  const std::shared_lock state_lock(state_mutex_);
  return segments_.contains(id) || index_ids_.contains(id);
}

std::vector<std::shared_ptr<const Segment>> Catalog::ListSegments() const {
  const std::shared_lock state_lock(state_mutex_);
  std::vector<std::shared_ptr<const Segment>> segments;
  segments.reserve(segments_.size());
  for (const auto& [id, linked] : segments_) segments.push_back(linked.segment);
  return segments;
}

Catalog::Counts Catalog::counts() const {
  const std::shared_lock state_lock(state_mutex_);
  Counts counts{
      .models = models_.size(), .contexts = contexts_.size(), .segments = segments_.size()};
  for (const auto& [id, linked] : segments_) {
    counts.stored_tokens += linked.segment->token_count;
    counts.stored_bytes += linked.segment->stored_bytes;
    for (const StoredIndex* index : linked.segment->indexes.list()) {
      ++counts.indexes[index->kind].segments;
      counts.indexes[index->kind].stored_bytes += index->stored_bytes;
    }
  }
  return counts;
}

}  // namespace alaya
