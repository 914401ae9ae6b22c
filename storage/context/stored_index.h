// An index of a segment, as the store knows it: numbered blocks of bytes for every
// layer and kv head. What they mean is the business of whoever built it.

#ifndef ALAYA_STORAGE_CONTEXT_STORED_INDEX_H_
#define ALAYA_STORAGE_CONTEXT_STORED_INDEX_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "storage/page/page.h"
#include "storage/types/ids.h"

namespace alaya {

// Immutable once committed. While anyone holds a StoredIndex its pages stay readable.
struct StoredIndex {
  SegmentId id{};        // its pages' number
  uint8_t kind = 0;      // 1 .. kIndexKindMax
  uint32_t version = 0;  // of the kind's own byte format
  uint32_t num_kv_heads = 0;
  std::vector<uint32_t> block_counts;  // [num_layers * num_kv_heads]
  uint64_t stored_bytes = 0;           // bytes on disk

  uint32_t block_count(LayerIndex layer, KvHeadIndex head) const {
    return block_counts[size_t{ToInt(layer)} * num_kv_heads + ToInt(head)];
  }
  PageId page(LayerIndex layer, KvHeadIndex head, uint32_t block_index) const {
    return {.segment = id,
            .layer = ToInt(layer),
            .page_index = block_index,
            .kind = IndexPageKind(kind),
            .head = ToInt(head)};
  }
};

// The indexes of one segment: at most one of each kind at a time, added while the
// segment is in use.
//
// Threads: any. find() takes no lock.
class SegmentIndexes {
 public:
  // Valid as long as the segment. Null: there is none.
  const StoredIndex* find(uint8_t kind) const {
    return kind <= kIndexKindMax ? current_[kind].load(std::memory_order_acquire) : nullptr;
  }

  // Makes the index the current one of its kind. What it replaces stays readable: who
  // found it before may be reading it.
  void Publish(std::shared_ptr<const StoredIndex> index) {
    const std::lock_guard lock(mutex_);
    current_[index->kind].store(index.get(), std::memory_order_release);
    held_.push_back(std::move(index));
  }

  std::vector<const StoredIndex*> list() const {
    std::vector<const StoredIndex*> indexes;
    for (const auto& slot : current_) {
      const StoredIndex* index = slot.load(std::memory_order_acquire);
      if (index != nullptr) indexes.push_back(index);
    }
    return indexes;
  }

 private:
  std::array<std::atomic<const StoredIndex*>, kIndexKindMax + 1> current_{};
  std::mutex mutex_;
  std::vector<std::shared_ptr<const StoredIndex>> held_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_STORED_INDEX_H_
