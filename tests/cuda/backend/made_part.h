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
#include "index/kv_reader.h"
#include "tests/support/element_codec.h"
#include "tests/support/exact_attention.h"
#include "tests/support/random_numbers.h"

namespace alaya {

// One head's rows, read by any number of threads.
class MadeRows : public KvReader {
 public:
  MadeRows(const DevicePartShape& shape, uint64_t seed, const std::atomic<bool>* is_damaged)
      : shape_(shape), is_damaged_(*is_damaged) {
    for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
      std::vector<float> elements =
          MadeNumbers(shape.token_count * shape.head_dim, seed + static_cast<uint64_t>(kind));
      // An outlier channel, as trained models have it.
      for (size_t i = 0; kind == KvKind::kKey && i < elements.size(); i += shape.head_dim) {
        elements[i + 5] += 8;
      }
      RoundTo(shape.dtype, elements);
      bytes_.push_back(Encode(elements, shape.dtype));
      elements_.push_back(std::move(elements));
    }
  }

  size_t token_count() const override { return shape_.token_count; }
  size_t block_tokens() const override { return 64; }
  size_t head_dim() const override { return shape_.head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block) const override {
    if (is_damaged_) return DataLoss("a damaged block");
    const EncodedMatrixView all = {bytes_[static_cast<size_t>(kind)].data(), shape_.token_count,
                                   shape_.head_dim, shape_.dtype};
    const size_t begin = block * block_tokens();
    return PinnedRows{all.rows_range(begin, std::min(block_tokens(), token_count() - begin)),
                      BlockPin()};
  }

  MatrixView<const float> keys() const { return Matrix(0); }
  MatrixView<const float> values() const { return Matrix(1); }
  const std::byte* row(KvKind kind, size_t token) const {
    return bytes_[static_cast<size_t>(kind)].data() +
           token * shape_.head_dim * ElementBytes(shape_.dtype);
  }

  static std::vector<float> MadeNumbers(size_t count, uint64_t seed) {
    const RandomStream random(seed);
    std::vector<float> numbers(count);
    for (size_t i = 0; i < count; ++i) numbers[i] = random.Normal(i);
    return numbers;
  }

 private:
  MatrixView<const float> Matrix(size_t kind) const {
    return {elements_[kind].data(), shape_.token_count, shape_.head_dim};
  }

  const DevicePartShape shape_;
  const std::atomic<bool>& is_damaged_;
  std::vector<std::vector<float>> elements_;  // keys, values
  std::vector<std::vector<std::byte>> bytes_;
};

class MadePart {
 public:
  MadePart(uint64_t segment, DevicePartShape shape)
      : part_{SegmentId{segment}, LayerIndex{3}}, shape_(shape) {
    for (uint32_t head = 0; head < shape.kv_head_count; ++head) {
      heads_->emplace_back(shape, 100 * segment + 10 * head, &is_damaged_);
    }
  }

  const DevicePartShape& shape() const { return shape_; }
  TierKey key() const { return {ToInt(part_.segment), ToInt(part_.layer)}; }
  const MadeRows& head(uint32_t head) const { return (*heads_)[head]; }
  void Damage() { is_damaged_ = true; }
  // The part is gone.
  void Drop() { owner_.reset(); }

  DevicePartSource source() const {
    DevicePartSource source;
    source.owner = owner_;
    source.open = [weak = std::weak_ptr<int>(owner_),
                   heads = heads_]() -> std::unique_ptr<const DevicePartRows> {
      if (weak.expired()) return nullptr;
      return std::make_unique<Rows>(heads);
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
    explicit Rows(std::shared_ptr<const std::deque<MadeRows>> of) : heads(std::move(of)) {}
    const KvReader& head(KvHeadIndex head) const override { return (*heads)[ToInt(head)]; }
    std::shared_ptr<const std::deque<MadeRows>> heads;
  };

  const DevicePart part_;
  const DevicePartShape shape_;
  std::atomic<bool> is_damaged_{false};
  std::shared_ptr<int> owner_ = std::make_shared<int>(0);
  std::shared_ptr<std::deque<MadeRows>> heads_ = std::make_shared<std::deque<MadeRows>>();
};

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_BACKEND_MADE_PART_H_
