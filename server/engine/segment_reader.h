// One head of one layer of a stored segment, as the mathematics reads it.

#ifndef ALAYA_SERVER_ENGINE_SEGMENT_READER_H_
#define ALAYA_SERVER_ENGINE_SEGMENT_READER_H_

#include <atomic>
#include <cstddef>

#include "index/kv_reader.h"
#include "storage/context/context_store.h"
#include "storage/types/ids.h"

namespace alaya {

// Reads the tokens that the link keeps; a block is a page of the store.
class SegmentReader : public KvReader {
 public:
  // `store` and `link` must outlive the reader.
  SegmentReader(ContextStore* store, const SegmentLink& link, LayerIndex layer, KvHeadIndex head);

  size_t token_count() const override { return link_.token_count; }
  size_t block_tokens() const override { return page_tokens_; }
  size_t head_dim() const override { return model_.head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override;

  // True if some block had to be read from disk.
  bool read_from_disk() const { return read_from_disk_.load(std::memory_order_relaxed); }
  bool IsResident(KvKind kind, size_t block_index) const;

 private:
  PageId Page(KvKind kind, size_t block_index) const;

  ContextStore* store_;
  const SegmentLink& link_;
  const Model& model_;
  LayerIndex layer_;
  KvHeadIndex head_;
  size_t page_tokens_;
  mutable std::atomic<bool> read_from_disk_{false};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SEGMENT_READER_H_
