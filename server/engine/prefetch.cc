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

// Pages of one segment in one layer.
class LayerPages {
 public:
  LayerPages(const Segment& segment, LayerIndex layer) : segment_(segment), layer_(layer) {}

  // Keys and values of tokens [begin, end) of the segment, in the order on disk.
  void AddTokens(uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    const Model& model = segment_.model->model;
    const uint64_t page_tokens = PageTokens(model);
    for (uint64_t page = begin / page_tokens; page <= (end - 1) / page_tokens; ++page) {
      for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
        for (const PageKind kind : {PageKind::kKey, PageKind::kValue}) {
          ids_.push_back({.segment = segment_.id,
                          .layer = ToInt(layer_),
                          .page_index = static_cast<uint32_t>(page),
                          .kind = kind,
                          .head = head});
        }
      }
    }
  }

  void AddIndex(const StoredIndex& index) {
    for (uint32_t head = 0; head < index.num_kv_heads; ++head) {
      const uint32_t count = index.block_count(layer_, KvHeadIndex{head});
      for (uint32_t block = 0; block < count; ++block) {
        ids_.push_back(index.page(layer_, KvHeadIndex{head}, block));
      }
    }
  }

  std::vector<PageId> Take() { return std::move(ids_); }

 private:
  const Segment& segment_;
  const LayerIndex layer_;
  std::vector<PageId> ids_;
};

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
  LayerPages pages(*link.segment, layer);
  const std::vector<const StoredIndex*> indexes = link.segment->indexes.list();
  if (indexes.empty()) {
    pages.AddTokens(0, link.token_count);
    return pages.Take();
  }
  const Window window;
  const uint64_t end = chain.back().range().end;
  const uint64_t recent_begin = end - std::min<uint64_t>(end, window.recent);
  const TokenRange tokens = link.range();
  const TokenRange sink = Intersect(tokens, {0, window.sink});
  const TokenRange recent = Intersect(tokens, {recent_begin, end});
  if (!sink.empty()) pages.AddTokens(sink.begin - tokens.begin, sink.end - tokens.begin);
  if (!recent.empty()) pages.AddTokens(recent.begin - tokens.begin, recent.end - tokens.begin);
  for (const StoredIndex* index : indexes) pages.AddIndex(*index);
  return pages.Take();
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
    std::vector<PageId> ids = NeededPages(chain, i, layer);
    bytes += BytesOf(ids);
    if (!IsResident(*store, ids)) store->Announce(chain[i].segment, std::move(ids));
  }
  return bytes;
}

}  // namespace

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

}  // namespace alaya
