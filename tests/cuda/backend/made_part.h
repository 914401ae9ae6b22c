// A part with random keys and values, and what attention over it has to be.

#ifndef ALAYA_TESTS_CUDA_BACKEND_MADE_PART_H_
#define ALAYA_TESTS_CUDA_BACKEND_MADE_PART_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "cuda/device/device_tier.h"
#include "index/attention/attention_device.h"
#include "index/coarse/stretch_bounds.h"
#include "index/kv_reader.h"
#include "index/memory_index_blocks.h"
#include "storage/types/check.h"
#include "tests/support/exact_attention.h"

namespace alaya {

// One head's rows, read by any number of threads.
class MadeRows : public KvReader {
 public:
  MadeRows(const DevicePartShape& shape, uint64_t seed);

  size_t token_count() const override { return shape_.token_count; }
  size_t block_tokens() const override { return 64; }
  size_t head_dim() const override { return shape_.head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block) const override;

  MatrixView<const float> keys() const { return Matrix(0); }
  MatrixView<const float> values() const { return Matrix(1); }
  const std::byte* row(KvKind kind, size_t token) const {
    return numbers_->bytes[static_cast<size_t>(kind)].data() +
           token * shape_.head_dim * ElementBytes(shape_.dtype);
  }

  // From now on no block can be read.
  void Damage() { is_damaged_ = true; }

  static std::vector<float> MadeNumbers(size_t count, uint64_t seed);

 private:
  struct Numbers {
    std::vector<std::vector<float>> elements;  // keys, values
    std::vector<std::vector<std::byte>> bytes;
  };

  // Made once in a process.
  static std::shared_ptr<const Numbers> NumbersOf(const DevicePartShape& shape, uint64_t seed);

  MatrixView<const float> Matrix(size_t kind) const {
    return {numbers_->elements[kind].data(), shape_.token_count, shape_.head_dim};
  }

  const DevicePartShape shape_;
  std::atomic<bool> is_damaged_{false};
  const std::shared_ptr<const Numbers> numbers_;
};

class MadePart {
 public:
  MadePart(uint64_t segment, DevicePartShape shape)
      : part_{SegmentId{segment}, LayerIndex{3}}, shape_(shape) {
    for (uint32_t head = 0; head < shape.kv_head_count; ++head) {
      heads_->emplace_back(shape, 100 * segment + 10 * head);
    }
  }

  const DevicePartShape& shape() const { return shape_; }
  TierKey key() const { return {ToInt(part_.segment), ToInt(part_.layer)}; }
  const MadeRows& head(uint32_t head) const { return (*heads_)[head]; }
  void Damage() {
    for (MadeRows& head : *heads_) head.Damage();
  }
  // From now on it has a coarse index.
  void MakeCoarse(size_t stretch_tokens = 64) {
    for (const MadeRows& head : *heads_) {
      MemoryIndexBlocks& blocks = coarse_->emplace_back();
      CoarseBuildOptions options;
      options.stretch_tokens = stretch_tokens;
      ALAYA_CHECK(BuildStretchBounds(head, options, blocks.Sink()).ok());
    }
  }
  const MemoryIndexBlocks& coarse(uint32_t head) const { return (*coarse_)[head]; }
  // The part is gone.
  void Drop() { owner_.reset(); }

  DevicePartSource source() const {
    DevicePartSource source;
    source.owner = owner_;
    source.open = [weak = std::weak_ptr<int>(owner_), heads = heads_,
                   coarse = coarse_]() -> std::unique_ptr<const DevicePartRows> {
      if (weak.expired()) return nullptr;
      return std::make_unique<Rows>(heads, coarse);
    };
    return source;
  }

  // Sees all of it, by a window of usual size.
  DeviceTask task(uint32_t queries_per_head) const {
    DeviceTask task;
    task.part = part_;
    task.shape = shape_;
    task.visible = {0, shape_.token_count};
    task.sink = {0, 128};
    task.recent = {shape_.token_count - 512, shape_.token_count};
    task.queries_per_head = queries_per_head;
    task.scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
    return task;
  }
  // Logits have a deviation of about 4.
  std::vector<float> Queries(uint32_t queries_per_head, uint64_t seed) const {
    std::vector<float> queries = MadeRows::MadeNumbers(
        size_t{shape_.kv_head_count} * queries_per_head * shape_.head_dim, seed);
    for (float& element : queries) element *= 4;
    return queries;
  }
  MatrixView<const float> Matrix(const std::vector<float>& queries) const {
    return {queries.data(), queries.size() / shape_.head_dim, shape_.head_dim};
  }

  // Attention to all that is visible.
  ExactAttention Expected(const DeviceTask& task, std::span<const float> query,
                          uint32_t head) const {
    return AttendRange(ExactScores(query, this->head(head).keys()), this->head(head).values(),
                       double{task.scale}, task.visible);
  }

 private:
  struct Rows : DevicePartRows {
    Rows(std::shared_ptr<const std::deque<MadeRows>> of,
         std::shared_ptr<const std::deque<MemoryIndexBlocks>> blocks)
        : heads(std::move(of)), indexes(std::move(blocks)) {}
    const KvReader& head(KvHeadIndex head) const override { return (*heads)[ToInt(head)]; }
    const IndexBlockReader* coarse(KvHeadIndex head) const override {
      return indexes->empty() ? nullptr : &(*indexes)[ToInt(head)];
    }
    std::shared_ptr<const std::deque<MadeRows>> heads;
    std::shared_ptr<const std::deque<MemoryIndexBlocks>> indexes;
  };

  const DevicePart part_;
  const DevicePartShape shape_;
  std::shared_ptr<int> owner_ = std::make_shared<int>(0);
  // Whoever reads rows may outlive the part.
  const std::shared_ptr<std::deque<MadeRows>> heads_ = std::make_shared<std::deque<MadeRows>>();
  const std::shared_ptr<std::deque<MemoryIndexBlocks>> coarse_ =
      std::make_shared<std::deque<MemoryIndexBlocks>>();
};

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_BACKEND_MADE_PART_H_
