// One head of one layer of a stored segment, as the mathematics reads it.

#ifndef ALAYA_SERVER_ENGINE_SEGMENT_READER_H_
#define ALAYA_SERVER_ENGINE_SEGMENT_READER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/kv_reader.h"
#include "storage/context/context_store.h"
#include "storage/types/ids.h"

namespace alaya {

// Reads the tokens that a link keeps; a block is a page of the store.
class SegmentReader : public KvReader {
 public:
  // `store` and the link's segment must outlive the reader.
  SegmentReader(ContextStore* store, const SegmentLink& link, LayerIndex layer, KvHeadIndex head)
      : SegmentReader(store, *link.segment, link.token_count, layer, head) {}
  // All tokens of the segment.
  SegmentReader(ContextStore* store, const Segment& segment, LayerIndex layer, KvHeadIndex head)
      : SegmentReader(store, segment, segment.token_count, layer, head) {}

  // Reads from disk are also counted there; it must outlive the reader.
  void CountDiskReads(std::atomic<uint64_t>* disk_reads) { disk_reads_ = disk_reads; }
  // Tells the page cache that this pass will not come again.
  void ReadOnce() { page_use_ = PageUse::kOnce; }
  // Of a segment that is all in memory, to be asked for nothing ahead.
  void ExpectInMemory() { is_expected_in_memory_ = true; }

  size_t token_count() const override { return token_count_; }
  size_t block_tokens() const override { return page_tokens_; }
  size_t head_dim() const override { return model_.head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override;
  void ReadAhead(KvKind kind, std::span<const uint32_t> blocks) const override;
  void FetchAhead(KvKind kind, std::span<const uint32_t> blocks) const override;
  bool IsInMemory() const override;

  // True if some block had to be read from disk.
  bool read_from_disk() const { return read_from_disk_.load(std::memory_order_relaxed); }
  // Share of the keys of some blocks that are in memory, by sample.
  double ResidentShare(size_t first_block, size_t block_count) const;

 private:
  SegmentReader(ContextStore* store, const Segment& segment, uint64_t token_count, LayerIndex layer,
                KvHeadIndex head);
  PageId Page(KvKind kind, size_t block_index) const;
  void CountDiskReads(uint64_t count) const;

  ContextStore* store_;
  const Segment& segment_;
  const Model& model_;
  uint64_t token_count_;
  LayerIndex layer_;
  KvHeadIndex head_;
  size_t page_tokens_;
  std::atomic<uint64_t>* disk_reads_ = nullptr;
  PageUse page_use_ = PageUse::kRepeated;
  bool is_expected_in_memory_ = false;
  mutable std::atomic<bool> read_from_disk_{false};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SEGMENT_READER_H_
