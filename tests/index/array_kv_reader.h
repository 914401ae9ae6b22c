// A KvReader over arrays of a test.

#ifndef ALAYA_TESTS_INDEX_ARRAY_KV_READER_H_
#define ALAYA_TESTS_INDEX_ARRAY_KV_READER_H_

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "index/kv_reader.h"
#include "tests/index/random_tensors.h"

namespace alaya {

// Keys and values in blocks of any size. Counts pins and remembers what was read;
// the read of one block can be made to fail.
class ArrayKvReader : public KvReader {
 public:
  // keys and values: [token_count, head_dim], stored as `dtype`.
  ArrayKvReader(const std::vector<float>& keys, const std::vector<float>& values, size_t head_dim,
                DType dtype, size_t block_tokens)
      : head_dim_(head_dim),
        block_tokens_(block_tokens),
        keys_(Encode(keys, head_dim, dtype)),
        values_(Encode(values, head_dim, dtype)) {}

  size_t token_count() const override { return keys_.view.rows; }
  size_t block_tokens() const override { return block_tokens_; }
  size_t head_dim() const override { return head_dim_; }
  bool IsInMemory() const override { return in_memory_; }
  void ReadAhead(KvKind kind, std::span<const uint32_t> blocks) const override {
    for (const uint32_t block : blocks) announced_.emplace(kind, block);
  }
  void FetchAhead(KvKind kind, std::span<const uint32_t> blocks) const override {
    for (const uint32_t block : blocks) fetched_.emplace(kind, block);
  }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    if (failing_ == std::pair(kind, block_index)) return DataLoss("a damaged block");
    const EncodedMatrixView& all = kind == KvKind::kKey ? keys_.view : values_.view;
    const size_t begin = block_index * block_tokens_;
    read_.emplace(kind, block_index);
    pin_count_max_ = std::max(pin_count_max_, ++pin_count_);
    PinnedRows rows;
    rows.rows = all.rows_range(begin, std::min(block_tokens_, all.rows - begin));
    rows.pin = BlockPin(&pin_count_, [](void* count) { --*static_cast<int*>(count); });
    return rows;
  }

  // What the stored elements stand for, exactly.
  const float* key(size_t token) const { return &keys_.values[token * head_dim_]; }
  const float* value(size_t token) const { return &values_.values[token * head_dim_]; }

  void set_in_memory(bool in_memory) { in_memory_ = in_memory; }
  void FailAt(KvKind kind, size_t block_index) { failing_ = {kind, block_index}; }
  bool was_read(KvKind kind, size_t block_index) const {
    return read_.contains({kind, block_index});
  }
  using Blocks = std::set<std::pair<KvKind, size_t>>;
  const Blocks& read() const { return read_; }
  // By ReadAhead and by FetchAhead.
  const Blocks& announced() const { return announced_; }
  const Blocks& fetched() const { return fetched_; }
  int pin_count() const { return pin_count_; }
  int pin_count_max() const { return pin_count_max_; }

 private:
  size_t head_dim_;
  size_t block_tokens_;
  EncodedMatrix keys_;
  EncodedMatrix values_;
  std::pair<KvKind, size_t> failing_ = {KvKind::kKey, SIZE_MAX};
  bool in_memory_ = true;
  mutable int pin_count_ = 0;
  mutable int pin_count_max_ = 0;
  mutable Blocks read_;
  mutable Blocks announced_;
  mutable Blocks fetched_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_ARRAY_KV_READER_H_
