// Who takes how much: by model, and by the labels that take most. And who has to go when
// space is short.

#include <algorithm>
#include <set>
#include <utility>

#include "storage/context/catalog.h"

namespace alaya {
namespace {

using Label = std::pair<std::string, std::string>;

}  // namespace

StoreUsage Catalog::Usage() const {
  const std::shared_lock state_lock(state_mutex_);
  std::map<std::string, ModelUsage> models;
  for (const auto& [name, model] : models_) models[name].model = name;
  for (const auto& [id, linked] : segments_) {
    ModelUsage& usage = models[linked.segment->model->model.name];
    ++usage.segments;
    usage.stored_tokens += linked.segment->token_count;
    usage.stored_bytes += linked.segment->stored_bytes_with_indexes();
  }
  struct Labelled {
    uint64_t contexts = 0;
    std::set<const Segment*> segments;  // shared ones count once
  };
  std::map<Label, Labelled> labels;
  for (const auto& [name, context] : contexts_) {
    ++models[context->model->model.name].contexts;
    for (const auto& label : context->labels) {
      Labelled& labelled = labels[label];
      ++labelled.contexts;
      for (const SegmentLink& link : context->chain) labelled.segments.insert(link.segment.get());
    }
  }
  StoreUsage usage;
  for (auto& [name, model] : models) usage.models.push_back(std::move(model));
  for (const auto& [label, labelled] : labels) {
    LabelUsage& one = usage.labels.emplace_back(
        LabelUsage{label.first, label.second, labelled.contexts, /*stored_bytes=*/0});
    for (const Segment* segment : labelled.segments)
      one.stored_bytes += segment->stored_bytes_with_indexes();
  }
  std::ranges::stable_sort(usage.labels, std::greater(), &LabelUsage::stored_bytes);
  if (usage.labels.size() > kLabelUsagesMax) {
    usage.labels_left_out = usage.labels.size() - kLabelUsagesMax;
    usage.labels.resize(kLabelUsagesMax);
  }
  return usage;
}

uint64_t Catalog::memory_bytes() const {
  // As a heap profile of 4,000 contexts says, places in maps and what malloc adds included. The
  // index is one of 32 layers of 8 heads.
  constexpr uint64_t kSegmentBytes = 600;
  constexpr uint64_t kIndexBytes = 1300;
  const std::shared_lock state_lock(state_mutex_);
  return contexts_memory_bytes_ + segments_.size() * kSegmentBytes +
         index_ids_.size() * kIndexBytes;
}

uint64_t Catalog::StoredBytes(std::string_view tenant) const {
  const std::shared_lock state_lock(state_mutex_);
  uint64_t bytes = 0;
  for (const auto& [id, linked] : segments_) {
    if (linked.segment->tenant == tenant) bytes += linked.segment->stored_bytes_with_indexes();
  }
  return bytes;
}

StatusOr<size_t> Catalog::Evict(uint64_t target_bytes, const Label& label) {
  const std::lock_guard write_lock(write_mutex_);
  uint64_t stored_bytes = 0;
  for (const auto& [id, linked] : segments_)
    stored_bytes += linked.segment->stored_bytes_with_indexes();
  std::vector<std::pair<WallTime, ContextPointer>> candidates;
  for (const auto& [name, context] : contexts_) {
    if (context->pinned) continue;
    if (!label.first.empty()) {
      const auto found = context->labels.find(label.first);
      if (found == context->labels.end() || found->second != label.second) continue;
    }
    candidates.emplace_back(context->last_use(), context);
  }
  std::ranges::sort(candidates);
  size_t evicted_count = 0;
  for (const auto& [last_use, context] : candidates) {
    if (stored_bytes <= target_bytes) break;
    ALAYA_ASSIGN_OR_RETURN(const uint64_t freed_bytes, DeleteContexts({context}));
    stored_bytes -= freed_bytes;
    ++evicted_count;
  }
  return evicted_count;
}

}  // namespace alaya
