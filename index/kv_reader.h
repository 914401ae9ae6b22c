// What the mathematics reads: the keys and values of one kv head of one part of a
// sequence, a block at a time.
//
// Declared here and implemented by whoever holds the bytes (stored segments, a
// session's tail, a test's arrays), so that index knows no storage.

#ifndef ALAYA_INDEX_KV_READER_H_
#define ALAYA_INDEX_KV_READER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

enum class KvKind : uint8_t { kKey = 0, kValue = 1 };

// Keeps a block in memory; move-only. An empty pin keeps nothing.
class BlockPin {
 public:
  using Release = void (*)(void* block);

  BlockPin() = default;
  BlockPin(void* block, Release release) : block_(block), release_(release) {}
  BlockPin(BlockPin&& other) noexcept { *this = std::move(other); }
  BlockPin& operator=(BlockPin&& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(release_, other.release_);
    return *this;
  }
  BlockPin(const BlockPin&) = delete;
  BlockPin& operator=(const BlockPin&) = delete;
  ~BlockPin() {
    if (release_ != nullptr) release_(block_);
  }

 private:
  void* block_ = nullptr;
  Release release_ = nullptr;
};

// Rows of one block and what keeps them in memory.
struct PinnedRows {
  EncodedMatrixView rows;  // [tokens of the block, head_dim]; valid while pin lives
  BlockPin pin;
};

class KvReader {
 public:
  virtual ~KvReader() = default;

  // Tokens that can be read; positions are 0 .. token_count() - 1.
  virtual size_t token_count() const = 0;
  // Tokens of every block but the last, which may have fewer; at least 1.
  virtual size_t block_tokens() const = 0;
  virtual size_t head_dim() const = 0;

  // Block b holds tokens [b * block_tokens(), min((b + 1) * block_tokens(), token_count())).
  //
  // May read from disk. Hold few pins at a time: each one takes memory from a
  //   bounded pool.
  // Errors: DataLoss if the stored block is damaged; ResourceExhausted if the pool
  //   is full of pinned blocks.
  // Threads: any number of calls at a time.
  virtual StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const = 0;

  // Says which blocks will be read next, at most kReadAheadBlocks, so that a reader with
  // a slow source can get them at the same time. May wait for them; fails at nothing.
  virtual void ReadAhead(KvKind /*kind*/, std::span<const uint32_t> /*blocks*/) const {}
  static constexpr size_t kReadAheadBlocks = 128;

  // Says the same of a reader that is in memory, where what is known of a block may still lie far
  // from the processor.
  virtual void FetchAhead(KvKind /*kind*/, std::span<const uint32_t> /*blocks*/) const {}
  // Whichever is right. `in_memory`: what IsInMemory() said, which whoever reads many blocks asks
  // once.
  void Announce(KvKind kind, std::span<const uint32_t> blocks, bool in_memory) const {
    if (in_memory) {
      FetchAhead(kind, blocks);
    } else {
      ReadAhead(kind, blocks);
    }
  }

  // False if some keys may have to come from a slow source: then arithmetic that saves
  // reading them pays. A guess.
  virtual bool IsInMemory() const { return true; }

  size_t block_count() const { return (token_count() + block_tokens() - 1) / block_tokens(); }
};

}  // namespace alaya

#endif  // ALAYA_INDEX_KV_READER_H_
