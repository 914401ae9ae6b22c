// The blocks of an index in memory, which a test may damage.

#ifndef ALAYA_TESTS_INDEX_DAMAGEABLE_INDEX_BLOCKS_H_
#define ALAYA_TESTS_INDEX_DAMAGEABLE_INDEX_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "index/memory_index_blocks.h"

namespace alaya {

class DamageableIndexBlocks : public MemoryIndexBlocks {
 public:
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    ++read_count_;
    if (block_index == failing_) return DataLoss("a damaged block");
    return MemoryIndexBlocks::ReadBlock(block_index);
  }

  using MemoryIndexBlocks::bytes;
  std::span<std::byte> bytes(size_t block_index) {
    return {blocks_[block_index].memory.get(), blocks_[block_index].size};
  }
  size_t read_count() const { return read_count_; }
  void FailAt(size_t block_index) { failing_ = block_index; }
  void Shorten(size_t block_index, size_t size) { blocks_[block_index].size = size; }
  void DropLast() { blocks_.pop_back(); }

 private:
  size_t failing_ = SIZE_MAX;
  mutable size_t read_count_ = 0;
};

template <typename T>
void Write(DamageableIndexBlocks& blocks, size_t block_index, size_t offset, T value) {
  std::memcpy(&blocks.bytes(block_index)[offset], &value, sizeof(value));
}

// A case of a test that damages blocks.
struct Damage {
  const char* name;
  std::function<void(DamageableIndexBlocks&)> apply;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_DAMAGEABLE_INDEX_BLOCKS_H_
