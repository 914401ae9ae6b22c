// The blocks of an index in memory: what a build gives to its sink, read back.

#ifndef ALAYA_INDEX_MEMORY_INDEX_BLOCKS_H_
#define ALAYA_INDEX_MEMORY_INDEX_BLOCKS_H_

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/index_blocks.h"
#include "storage/types/status.h"

namespace alaya {

class MemoryIndexBlocks : public IndexBlockReader {
 public:
  // Appends what it is given; refers to this object.
  IndexBlockSink Sink() {
    return [this](std::span<const std::byte> bytes) {
      if (bytes.empty() || bytes.size() > kIndexBlockBytesMax) return Internal("block size");
      Block block{hwy::AllocateAligned<std::byte>(bytes.size()), bytes.size()};
      std::ranges::copy(bytes, block.memory.get());
      blocks_.push_back(std::move(block));
      return OkStatus();
    };
  }

  size_t block_count() const override { return blocks_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    const Block& block = blocks_[block_index];
    return PinnedBytes{{block.memory.get(), block.size}, BlockPin()};
  }

  // Of all blocks.
  size_t bytes() const {
    size_t total = 0;
    for (const Block& block : blocks_) total += block.size;
    return total;
  }

 protected:
  struct Block {
    hwy::AlignedFreeUniquePtr<std::byte[]> memory;
    size_t size = 0;
  };
  std::vector<Block> blocks_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_MEMORY_INDEX_BLOCKS_H_
