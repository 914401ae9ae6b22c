// The blocks of one head of one layer of a stored index, as the mathematics reads them.

#ifndef ALAYA_SERVER_ENGINE_STORED_INDEX_READER_H_
#define ALAYA_SERVER_ENGINE_STORED_INDEX_READER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "index/index_blocks.h"
#include "storage/context/context_store.h"
#include "storage/types/ids.h"

namespace alaya {

class StoredIndexReader : public IndexBlockReader {
 public:
  // All of it must outlive the reader. Reads from disk are counted in `disk_reads`.
  StoredIndexReader(ContextStore* store, const Segment& segment, const StoredIndex& index,
                    LayerIndex layer, KvHeadIndex head, std::atomic<uint64_t>* disk_reads)
      : store_(store),
        segment_(segment),
        index_(index),
        layer_(layer),
        head_(head),
        block_count_(index.block_count(layer, head)),
        disk_reads_(disk_reads) {}

  size_t block_count() const override { return block_count_; }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override;

  bool IsResident(size_t block_index) const;

 private:
  // Indexes are mostly read in order: after a block that was not in memory the next ones
  // are fetched, too.
  static constexpr size_t kReadAheadBlocks = 16;
  void ReadAhead(size_t first_block) const;

  PageId Page(size_t block_index) const {
    return index_.page(layer_, head_, static_cast<uint32_t>(block_index));
  }

  ContextStore* store_;
  const Segment& segment_;
  const StoredIndex& index_;
  LayerIndex layer_;
  KvHeadIndex head_;
  size_t block_count_;
  std::atomic<uint64_t>* disk_reads_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_STORED_INDEX_READER_H_
