#include "server/engine/sequence_view.h"

#include <algorithm>

#include "storage/types/check.h"

namespace alaya {

SequenceView::SequenceView(const SequenceSource& source, TokenRange visible)
    : layer_(source.layer) {
  const uint64_t tail_begin = source.chain->empty() ? 0 : source.chain->back().range().end;
  std::vector<const SegmentLink*> links;
  for (const SegmentLink& link : *source.chain) {
    const TokenRange tokens = Intersect(link.range(), visible);
    if (tokens.empty()) continue;
    links.push_back(&link);
    SegmentPart& segment = segments_.emplace_back();
    segment.link = &link;
    segment.tokens = tokens;
    if (source.indexes == nullptr) continue;
    segment.indexes = source.indexes->Find(link.segment);
    segment.disk_reads_before = segment.indexes->disk_reads();
  }
  if (source.tail != nullptr) {
    const uint64_t tail_end = tail_begin + source.tail->token_count(source.layer);
    tail_token_count_ = Intersect({tail_begin, tail_end}, visible).size();
  }

  for (uint32_t i = 0; i < source.model->num_kv_heads; ++i) {
    const KvHeadIndex head_index{i};
    Head& head = heads_.emplace_back();
    head.parts.reserve(links.size() + 1);
    for (const SegmentLink* link : links) {
      const SegmentReader& reader =
          head.readers.emplace_back(source.store, *link, source.layer, head_index);
      const ExactIndex& index = head.indexes.emplace_back(&reader);
      head.parts.push_back({&reader, &index, link->range().begin});
    }
    if (source.tail != nullptr && tail_token_count_ > 0) {
      const TailReader& reader =
          head.tail_reader.emplace(*source.tail, source.layer, head_index, source.model->head_dim);
      head.parts.push_back({&reader, source.tail->index(source.layer, head_index), tail_begin});
    }
  }
}

IndexKindSet SequenceView::available(size_t i) const {
  IndexKindSet kinds;
  if (segments_[i].indexes != nullptr) kinds = segments_[i].indexes->available();
  kinds.Add(IndexKind::kExact);
  return kinds;
}

void SequenceView::Choose(size_t i, IndexKind kind, WithoutIndex without) {
  for (uint32_t h = 0; h < heads_.size(); ++h) {
    Head& head = heads_[h];
    const TokenIndex* index = nullptr;
    if (kind != IndexKind::kExact) {
      ALAYA_CHECK(segments_[i].indexes != nullptr);
      index = segments_[i].indexes->Find(kind, layer_, KvHeadIndex{h});
    }
    // Null also if it turned out damaged since available() was asked.
    if (index == nullptr && without == WithoutIndex::kScan) index = &head.indexes[i];
    head.parts[i].index = index;
  }
}

uint64_t SequenceView::IndexBytes(size_t i, IndexKind kind) const {
  if (kind == IndexKind::kExact || segments_[i].indexes == nullptr) return 0;
  return segments_[i].indexes->bytes(kind, layer_);
}

double SequenceView::ResidentShare(size_t i, IndexKind kind) const {
  if (kind != IndexKind::kExact) {
    return segments_[i].indexes == nullptr ? 1 : segments_[i].indexes->ResidentShare(kind, layer_);
  }
  const SegmentReader& reader = heads_.front().readers[i];
  const uint64_t segment_begin = heads_.front().parts[i].token_begin;
  const size_t first_block = (segments_[i].tokens.begin - segment_begin) / reader.block_tokens();
  const size_t last_block = (segments_[i].tokens.end - 1 - segment_begin) / reader.block_tokens();
  return reader.ResidentShare(first_block, last_block - first_block + 1);
}

Tier SequenceView::tier(size_t i) const {
  if (segments_[i].served_from_disk) return Tier::kDisk;
  const OpenIndexes* indexes = segments_[i].indexes.get();
  if (indexes != nullptr && indexes->disk_reads() != segments_[i].disk_reads_before) {
    return Tier::kDisk;
  }
  const bool from_disk = std::any_of(heads_.begin(), heads_.end(), [i](const Head& head) {
    return head.readers[i].read_from_disk();
  });
  return from_disk ? Tier::kDisk : Tier::kMemory;
}

}  // namespace alaya
