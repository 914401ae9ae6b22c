// Blocks that a search holds pinned, so that most of its reads are array accesses.
//
// A graph is read in no order, a token here and a token there. Pinning a block costs as
// much as scoring several keys, so pins are kept: a direct-mapped cache of them.

#ifndef ALAYA_INDEX_GRAPH_PINNED_BLOCKS_H_
#define ALAYA_INDEX_GRAPH_PINNED_BLOCKS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "storage/types/status.h"

namespace alaya {

// Pinned is PinnedRows or PinnedBytes. For one thread.
template <typename Pinned>
class PinnedBlocks {
 public:
  // Keeps up to pin_count_max of block_count blocks.
  PinnedBlocks(size_t block_count, size_t pin_count_max)
      : slots_(std::clamp<size_t>(pin_count_max, 1, std::max<size_t>(block_count, 1))) {}

  // The block if it is pinned, else null.
  const Pinned* Find(size_t block) const {
    const Slot& slot = slots_[block % slots_.size()];
    return slot.block == block ? &slot.pinned : nullptr;
  }

  // Pins a block in place of others; what Find gave before may be gone. `read` is
  // called with the block: StatusOr<Pinned>(size_t). If memory is full of pinned blocks
  // it gives all of its own back and tries once more.
  template <typename Read>
  StatusOr<const Pinned*> Pin(size_t block, const Read& read) {
    Slot& slot = slots_[block % slots_.size()];
    slot = Slot();
    StatusOr<Pinned> pinned = read(block);
    if (pinned.status().code() == StatusCode::kResourceExhausted) {
      for (Slot& each : slots_) each = Slot();
      pinned = read(block);
    }
    if (!pinned.ok()) return pinned.status();
    slot.block = block;
    slot.pinned = *std::move(pinned);
    return &slot.pinned;
  }

 private:
  struct Slot {
    size_t block = SIZE_MAX;
    Pinned pinned;
  };

  std::vector<Slot> slots_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_PINNED_BLOCKS_H_
