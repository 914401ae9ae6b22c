// A session's new tokens: keys and values of every layer, in memory.
//
// A layer's tail is a list of blocks of kTailBlockTokens tokens. A block holds the
// keys and values of all kv heads; within it the rows of one head follow each other,
// so that a head is read as the kernels like it. Blocks are shared by forks and
// copied by whoever writes into a shared one first. A layer that grows long gets an
// index of its keys (tail_index.h); forks build their own with their next tokens.

#ifndef ALAYA_SERVER_ENGINE_TAIL_H_
#define ALAYA_SERVER_ENGINE_TAIL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "index/kv_reader.h"
#include "index/token_index.h"
#include "server/engine/tail_budget.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

inline constexpr size_t kTailBlockTokens = 128;

class TailBlock;
class TailIndex;

// Not thread-safe: belongs to its session's strand. Reading from many threads while
// nobody writes is fine.
class Tail {
 public:
  static constexpr uint64_t kNoIndex = UINT64_MAX;

  // Layers of `index_min_tokens` or more are indexed. `budget` must outlive the tail and
  // all of its forks.
  Tail(const Model& model, TailBudget* budget, uint64_t index_min_tokens = kNoIndex);
  // The new tail has no indexes until it grows.
  Tail(Tail&& other) noexcept;
  ~Tail();

  uint64_t token_count(LayerIndex layer) const { return layers_[ToInt(layer)].token_count; }
  // Memory of all blocks and indexes; shared blocks count in every tail that holds them.
  uint64_t bytes() const;

  // Appends tokens to a layer. `keys` and `values` are [T, num_kv_heads, head_dim] in
  // the model's dtype.
  //
  // Errors: ResourceExhausted if the budget has no room; the tail is unchanged then.
  Status Append(LayerIndex layer, std::span<const std::byte> keys,
                std::span<const std::byte> values);

  // Forgets a layer's tokens from `token_count` on. Requires: no more than it has.
  void Truncate(LayerIndex layer, uint64_t token_count);

  // Of one head's keys; valid until the tail changes. Null: the layer has none.
  const TokenIndex* index(LayerIndex layer, KvHeadIndex head) const;

  // A tail with the same tokens that shares all blocks with this one.
  Tail Fork();

  // Rows of one block of one head; valid until the tail changes.
  EncodedMatrixView Rows(LayerIndex layer, KvHeadIndex head, KvKind kind, size_t block_index) const;

 private:
  struct BlockSlot {
    std::shared_ptr<TailBlock> block;  // shared by forks
    bool writable = false;             // false: a fork may read it
  };
  struct LayerTail {
    std::vector<BlockSlot> blocks;
    uint64_t token_count = 0;
  };

  // Only for Fork: whoever copies must give up writing into the blocks.
  Tail(const Tail& other);
  // The shape and budget of `other`, and these layers; without indexes.
  Tail(const Tail& other, std::vector<LayerTail> layers, uint64_t bytes);

  // Brings the layer's index up to its tokens. An index that cannot be had is done
  // without.
  void ExtendIndex(LayerIndex layer);

  // Makes block `block_index` exist, be writable and hold `token_count` tokens.
  Status PrepareBlock(LayerTail* layer, size_t block_index, size_t token_count);

  size_t kv_head_count_;
  size_t head_dim_;
  DType dtype_;
  size_t row_bytes_;
  TailBudget* budget_;
  uint64_t index_min_tokens_;
  uint64_t bytes_ = 0;  // of blocks
  std::vector<LayerTail> layers_;
  std::vector<std::unique_ptr<TailIndex>> indexes_;  // [num_layers], null: none
};

// The tail of one head of one layer as the mathematics reads it.
class TailReader : public KvReader {
 public:
  // `tail` must outlive the reader and stay unchanged.
  TailReader(const Tail& tail, LayerIndex layer, KvHeadIndex head, size_t head_dim)
      : tail_(tail), layer_(layer), head_(head), head_dim_(head_dim) {}

  size_t token_count() const override { return tail_.token_count(layer_); }
  size_t block_tokens() const override { return kTailBlockTokens; }
  size_t head_dim() const override { return head_dim_; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    return PinnedRows{tail_.Rows(layer_, head_, kind, block_index), BlockPin()};
  }

 private:
  const Tail& tail_;
  LayerIndex layer_;
  KvHeadIndex head_;
  size_t head_dim_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TAIL_H_
