#include "server/engine/prefetch.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "index/target.h"
#include "storage/page/page.h"

namespace alaya {
namespace {

// Pages that are looked at to guess whether a layer is in memory.
constexpr size_t kResidencySamples = 8;

void AppendIndex(const StoredIndex& index, LayerIndex layer, std::vector<PageId>* ids) {
  for (uint32_t head = 0; head < index.num_kv_heads; ++head) {
    const uint32_t count = index.block_count(layer, KvHeadIndex{head});
    for (uint32_t block = 0; block < count; ++block) {
      ids->push_back(index.page(layer, KvHeadIndex{head}, block));
    }
  }
}

bool IsResident(const ContextStore& store, const std::vector<PageId>& ids) {
  const size_t count = std::min(ids.size(), kResidencySamples);
  for (size_t i = 0; i < count; ++i) {
    if (!store.IsResident(ids[i * ids.size() / count])) return false;
  }
  return true;
}

std::vector<PageId> NeededPages(const std::vector<SegmentLink>& chain, size_t link_index,
                                LayerIndex layer) {
  const SegmentLink& link = chain[link_index];
  std::vector<PageId> ids;
  const std::vector<const StoredIndex*> indexes = link.segment->indexes.list();
  if (indexes.empty()) {
    AppendTokenPages(*link.segment, layer, {0, link.token_count}, &ids);
    return ids;
  }
  const Window window;
  const uint64_t end = chain.back().range().end;
  const uint64_t recent_begin = end - std::min<uint64_t>(end, window.recent);
  const TokenRange tokens = link.range();
  for (const TokenRange& wanted : {TokenRange{0, window.sink}, TokenRange{recent_begin, end}}) {
    const TokenRange part = Intersect(tokens, wanted);
    if (part.empty()) continue;
    AppendTokenPages(*link.segment, layer, {part.begin - tokens.begin, part.end - tokens.begin},
                     &ids);
  }
  for (const StoredIndex* index : indexes) AppendIndex(*index, layer, &ids);
  return ids;
}

uint64_t BytesOf(const std::vector<PageId>& ids) {
  uint64_t bytes = 0;
  for (const PageId& id : ids) {
    bytes += IsIndex(id.kind) ? kPagePayloadBytesMax : kKvPagePayloadBytesMax;
  }
  return bytes;
}

// Returns the bytes that the layer needs of memory.
uint64_t Announce(ContextStore* store, const std::vector<SegmentLink>& chain, LayerIndex layer) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < chain.size(); ++i) {
    const std::vector<PageId> ids = NeededPages(chain, i, layer);
    bytes += BytesOf(ids);
    if (!IsResident(*store, ids)) store->Announce(chain[i].segment, ids);
  }
  return bytes;
}

}  // namespace

void AppendTokenPages(const Segment& segment, LayerIndex layer, TokenRange tokens,
                      std::vector<PageId>* ids) {
  const Model& model = segment.model->model;
  const uint64_t page_tokens = PageTokens(model);
  for (uint64_t page = tokens.begin / page_tokens; page * page_tokens < tokens.end; ++page) {
    for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
      for (const PageKind kind : {PageKind::kKey, PageKind::kValue}) {
        ids->push_back({.segment = segment.id,
                        .layer = ToInt(layer),
                        .page_index = static_cast<uint32_t>(page),
                        .kind = kind,
                        .head = head});
      }
    }
  }
}

void PrefetchSession(ContextStore* store, const std::vector<SegmentLink>& chain) {
  if (chain.empty()) return;
  const uint64_t bytes_max = store->memory_budget_bytes() / 2;
  uint64_t bytes = 0;
  const uint32_t layer_count = chain.front().segment->model->model.num_layers;
  for (uint32_t layer = 0; layer < layer_count && bytes < bytes_max; ++layer) {
    bytes += Announce(store, chain, LayerIndex{layer});
  }
}

void PrefetchLayer(ContextStore* store, const std::vector<SegmentLink>& chain, LayerIndex layer) {
  if (chain.empty() || ToInt(layer) >= chain.front().segment->model->model.num_layers) return;
  Announce(store, chain, layer);
}

bool LoadWhole(ContextStore* store, const std::shared_ptr<const Segment>& segment, LayerIndex layer,
               TokenRange tokens) {
  std::vector<PageId> ids;
  AppendTokenPages(*segment, layer, tokens, &ids);
  if (BytesOf(ids) > store->memory_budget_bytes() / 2) return false;
  const LayerIndex next{ToInt(layer) + 1};
  // Indexes are not asked then, nor probably on the next layer: their reads would only be in the
  // way.
  for (const LayerIndex whole : {layer, next}) store->DropAnnounced(*segment, whole);
  ReadPool::Pending pending = store->StartLoading(segment, ids);
  if (ToInt(next) < segment->model->model.num_layers) {
    std::vector<PageId> next_ids;
    AppendTokenPages(*segment, next, tokens, &next_ids);
    if (!IsResident(*store, next_ids)) store->Announce(segment, next_ids);
  }
  pending.Wait();
  return true;
}

}  // namespace alaya
