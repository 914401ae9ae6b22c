// The blocks of an index in memory, which a test may damage.

#ifndef ALAYA_TESTS_INDEX_DAMAGEABLE_INDEX_BLOCKS_H_
#define ALAYA_TESTS_INDEX_DAMAGEABLE_INDEX_BLOCKS_H_

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/index_blocks.h"

namespace alaya {

class DamageableIndexBlocks : public IndexBlockReader {
 public:
  IndexBlockSink Sink() {
    return [this](std::span<const std::byte> bytes) {
      if (bytes.empty() || bytes.size() > kIndexBlockBytesMax) return Internal("block size");
      Block block{hwy::AllocateAligned<std::byte>(bytes.size()), bytes.size()};
      std::ranges::copy(bytes, block.bytes.get());
      blocks_.push_back(std::move(block));
      return OkStatus();
    };
  }

  size_t block_count() const override { return blocks_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    if (block_index == failing_) return DataLoss("a damaged block");
    PinnedBytes pinned;
    pinned.bytes = {blocks_[block_index].bytes.get(), blocks_[block_index].size};
    return pinned;
  }

  std::span<std::byte> bytes(size_t block_index) {
    return {blocks_[block_index].bytes.get(), blocks_[block_index].size};
  }
  void FailAt(size_t block_index) { failing_ = block_index; }
  void Shorten(size_t block_index, size_t size) { blocks_[block_index].size = size; }
  void DropLast() { blocks_.pop_back(); }
  size_t total_bytes() const {
    size_t total = 0;
    for (const Block& block : blocks_) total += block.size;
    return total;
  }

 private:
  struct Block {
    hwy::AlignedFreeUniquePtr<std::byte[]> bytes;
    size_t size = 0;
  };

  std::vector<Block> blocks_;
  size_t failing_ = SIZE_MAX;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_DAMAGEABLE_INDEX_BLOCKS_H_
