#include "server/engine/tail.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "server/engine/tail_index.h"

namespace alaya {
namespace {

constexpr size_t kBlockAlignment = 64;
// The first block of a layer starts small and doubles, so that a short session does
// not pay for kTailBlockTokens tokens in every layer.
constexpr size_t kBlockTokensMin = 16;

constexpr size_t CapacityFor(size_t token_count) {
  size_t capacity = kBlockTokensMin;
  while (capacity < token_count) capacity *= 2;
  return capacity;
}

}  // namespace

// Rows of [kind][kv head][capacity] tokens.
class TailBlock {
 public:
  // Errors: ResourceExhausted if the budget or the machine has no memory left.
  static StatusOr<std::shared_ptr<TailBlock>> Allocate(size_t capacity, size_t kv_head_count,
                                                       size_t row_bytes, TailBudget* budget) {
    const size_t used_bytes = 2 * kv_head_count * capacity * row_bytes;
    const size_t bytes = (used_bytes + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
    ALAYA_RETURN_IF_ERROR(budget->Reserve(bytes));
    void* memory = std::aligned_alloc(kBlockAlignment, bytes);
    if (memory == nullptr) {
      budget->Release(bytes);
      return ResourceExhausted("the machine has no " + std::to_string(bytes) +
                               " bytes left for a session's tokens");
    }
    return std::make_shared<TailBlock>(static_cast<std::byte*>(memory), bytes, capacity,
                                       kv_head_count * row_bytes * capacity, budget);
  }

  TailBlock(std::byte* memory, size_t bytes, size_t capacity, size_t kind_bytes, TailBudget* budget)
      : memory_(memory),
        bytes_(bytes),
        capacity_(capacity),
        kind_bytes_(kind_bytes),
        budget_(budget) {}
  ~TailBlock() {
    std::free(memory_);
    budget_->Release(bytes_);
  }
  TailBlock(const TailBlock&) = delete;
  TailBlock& operator=(const TailBlock&) = delete;

  size_t capacity() const { return capacity_; }
  size_t bytes() const { return bytes_; }
  std::byte* row(KvKind kind, size_t head, size_t token, size_t row_bytes) const {
    return memory_ + static_cast<size_t>(kind) * kind_bytes_ +
           (head * capacity_ + token) * row_bytes;
  }

 private:
  std::byte* memory_;
  size_t bytes_;
  size_t capacity_;    // tokens
  size_t kind_bytes_;  // of all keys, or of all values
  TailBudget* budget_;
};

Tail::Tail(const Model& model, TailBudget* budget, uint64_t index_min_tokens)
    : kv_head_count_(model.num_kv_heads),
      head_dim_(model.head_dim),
      dtype_(model.dtype),
      row_bytes_(model.row_bytes()),
      budget_(budget),
      index_min_tokens_(index_min_tokens),
      layers_(model.num_layers),
      indexes_(model.num_layers) {}

Tail::Tail(const Tail& other, std::vector<LayerTail> layers, uint64_t bytes)
    : kv_head_count_(other.kv_head_count_),
      head_dim_(other.head_dim_),
      dtype_(other.dtype_),
      row_bytes_(other.row_bytes_),
      budget_(other.budget_),
      index_min_tokens_(other.index_min_tokens_),
      bytes_(bytes),
      layers_(std::move(layers)),
      indexes_(layers_.size()) {}

Tail::Tail(const Tail& other) : Tail(other, other.layers_, other.bytes_) {}

Tail::Tail(Tail&& other) noexcept
    : Tail(other, std::move(other.layers_), std::exchange(other.bytes_, 0)) {
  // They read the tail where it was.
  other.indexes_.clear();
}

Tail::~Tail() = default;

uint64_t Tail::bytes() const {
  uint64_t bytes = bytes_;
  for (const auto& index : indexes_) bytes += index == nullptr ? 0 : index->bytes();
  return bytes;
}

const TokenIndex* Tail::index(LayerIndex layer, KvHeadIndex head) const {
  const TailIndex* index = indexes_[ToInt(layer)].get();
  return index == nullptr ? nullptr : &index->head(head);
}

void Tail::ExtendIndex(LayerIndex layer) {
  std::unique_ptr<TailIndex>& index = indexes_[ToInt(layer)];
  if (token_count(layer) < index_min_tokens_) return;
  if (index == nullptr) {
    index = std::make_unique<TailIndex>(*this, layer, static_cast<uint32_t>(kv_head_count_),
                                        head_dim_, budget_);
  }
  if (!index->Extend().ok()) index.reset();
}

Status Tail::Append(LayerIndex layer_index, std::span<const std::byte> keys,
                    std::span<const std::byte> values) {
  LayerTail& layer = layers_[ToInt(layer_index)];
  const size_t token_bytes = kv_head_count_ * row_bytes_;
  assert(keys.size() == values.size() && keys.size() % token_bytes == 0);
  const uint64_t begin = layer.token_count;
  const uint64_t end = begin + keys.size() / token_bytes;

  // All memory first: an append applies wholly or not at all.
  for (size_t b = begin / kTailBlockTokens; b * kTailBlockTokens < end; ++b) {
    const size_t tokens_in_block = std::min(kTailBlockTokens, end - b * kTailBlockTokens);
    if (Status status = PrepareBlock(&layer, b, tokens_in_block); !status.ok()) {
      Truncate(layer_index, begin);
      return status;
    }
  }

  for (uint64_t token = begin; token < end; ++token) {
    const TailBlock& block = *layer.blocks[token / kTailBlockTokens].block;
    const size_t row = token % kTailBlockTokens;
    const size_t source = (token - begin) * token_bytes;
    for (size_t head = 0; head < kv_head_count_; ++head) {
      const size_t offset = source + head * row_bytes_;
      std::memcpy(block.row(KvKind::kKey, head, row, row_bytes_), keys.data() + offset, row_bytes_);
      std::memcpy(block.row(KvKind::kValue, head, row, row_bytes_), values.data() + offset,
                  row_bytes_);
    }
  }
  layer.token_count = end;
  ExtendIndex(layer_index);
  return OkStatus();
}

Status Tail::PrepareBlock(LayerTail* layer, size_t block_index, size_t token_count) {
  assert(block_index <= layer->blocks.size());
  const bool exists = block_index < layer->blocks.size();
  if (exists) {
    const BlockSlot& slot = layer->blocks[block_index];
    if (slot.writable && slot.block->capacity() >= token_count) return OkStatus();
  }
  const size_t capacity = block_index == 0 ? CapacityFor(token_count) : kTailBlockTokens;
  ALAYA_ASSIGN_OR_RETURN(std::shared_ptr<TailBlock> block,
                         TailBlock::Allocate(capacity, kv_head_count_, row_bytes_, budget_));
  bytes_ += block->bytes();
  if (!exists) {
    layer->blocks.push_back({std::move(block), true});
    return OkStatus();
  }
  BlockSlot& slot = layer->blocks[block_index];
  const size_t kept = layer->token_count - block_index * kTailBlockTokens;
  for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
    for (size_t head = 0; head < kv_head_count_; ++head) {
      std::memcpy(block->row(kind, head, 0, row_bytes_), slot.block->row(kind, head, 0, row_bytes_),
                  kept * row_bytes_);
    }
  }
  bytes_ -= slot.block->bytes();
  slot = {std::move(block), true};
  return OkStatus();
}

void Tail::Truncate(LayerIndex layer_index, uint64_t token_count) {
  LayerTail& layer = layers_[ToInt(layer_index)];
  assert(token_count <= layer.token_count);
  layer.token_count = token_count;
  std::unique_ptr<TailIndex>& index = indexes_[ToInt(layer_index)];
  if (index != nullptr) index->Truncate(token_count);
  if (token_count < index_min_tokens_ / 2) index.reset();
  while (layer.blocks.size() * kTailBlockTokens >= token_count + kTailBlockTokens) {
    bytes_ -= layer.blocks.back().block->bytes();
    layer.blocks.pop_back();
  }
}

Tail Tail::Fork() {
  for (LayerTail& layer : layers_) {
    for (BlockSlot& slot : layer.blocks) slot.writable = false;
  }
  return Tail(*this);
}

EncodedMatrixView Tail::Rows(LayerIndex layer_index, KvHeadIndex head, KvKind kind,
                             size_t block_index) const {
  const LayerTail& layer = layers_[ToInt(layer_index)];
  const size_t begin = block_index * kTailBlockTokens;
  assert(begin < layer.token_count);
  const size_t rows = std::min<size_t>(kTailBlockTokens, layer.token_count - begin);
  return {layer.blocks[block_index].block->row(kind, ToInt(head), 0, row_bytes_), rows, head_dim_,
          dtype_};
}

}  // namespace alaya
