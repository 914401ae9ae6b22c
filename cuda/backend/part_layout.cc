#include "cuda/backend/part_layout.h"

#include <algorithm>

#include "cuda/device/memory_pool.h"

namespace alaya {
namespace {

bool IsPossible(const DevicePartShape& shape) {
  return shape.head_dim % 8 == 0 && shape.head_dim > 0 && shape.head_dim <= kHeadDimMaxOnDevice &&
         shape.kv_head_count > 0;
}

}  // namespace

std::optional<PartLayout> PartLayout::WholeOf(const DevicePartShape& shape) {
  if (!IsPossible(shape) || shape.token_count < kWholeTokensMin ||
      shape.token_count > kWholeTokensMax) {
    return std::nullopt;
  }
  PartLayout layout;
  layout.form_ = PartForm::kWhole;
  layout.shape_ = shape;
  layout.row_bytes_ = static_cast<uint32_t>(shape.head_dim * ElementBytes(shape.dtype));
  layout.sink_tokens_ = static_cast<uint32_t>(shape.token_count);
  layout.head_bytes_ = MemoryPool::RoundUp(2 * shape.token_count * layout.row_bytes_);
  return layout;
}

std::optional<PartLayout> PartLayout::CoarseOf(const DevicePartShape& shape) {
  if (!IsPossible(shape) || shape.token_count < kTokensMin) return std::nullopt;
  PartLayout layout;
  layout.form_ = PartForm::kCoarse;
  layout.shape_ = shape;
  layout.row_bytes_ = 2 * shape.head_dim;
  layout.head_bytes_ = MemoryPool::RoundUp(size_t{layout.stretch_count()} * layout.row_bytes_);
  return layout;
}

std::optional<PartLayout> PartLayout::Of(const DevicePartShape& shape) {
  if (!IsPossible(shape) || shape.token_count < kTokensMin ||
      shape.token_count >= uint64_t{1} << MissedRows::kTokenBits) {
    return std::nullopt;
  }
  const auto token_count = static_cast<uint32_t>(shape.token_count);

  PartLayout layout;
  layout.shape_ = shape;
  layout.row_bytes_ = static_cast<uint32_t>(shape.head_dim * ElementBytes(shape.dtype));
  const size_t pair_bytes = 2 * size_t{layout.row_bytes_};
  const size_t share =
      token_count * pair_bytes / kShareOfKv / MemoryPool::kAlignment * MemoryPool::kAlignment;
  layout.windows_offset_ = FlatHeadBytes(shape.head_dim, token_count);
  // What rounding takes of windows and cache.
  const size_t taken = layout.windows_offset_ + 2 * MemoryPool::kAlignment;
  if (taken >= share) return std::nullopt;

  // Windows and cache have half of what is left each, and the cache what windows do not want.
  const size_t window_tokens = std::min<size_t>(
      {(share - taken) / 2 / pair_bytes, token_count, size_t{kSinkTokens} + kRecentTokens});
  layout.sink_tokens_ = static_cast<uint32_t>(std::min<size_t>(window_tokens, kSinkTokens));
  layout.recent_tokens_ = static_cast<uint32_t>(window_tokens) - layout.sink_tokens_;
  layout.cache_offset_ = layout.windows_offset_ + MemoryPool::RoundUp(window_tokens * pair_bytes);
  const size_t left = share - MemoryPool::kAlignment - layout.cache_offset_;
  layout.cache_sets_ = static_cast<uint32_t>(
      std::min<size_t>(left / RowCacheBytes(1, shape.head_dim), kCacheSetsMax));
  layout.head_bytes_ =
      layout.cache_offset_ + MemoryPool::RoundUp(RowCacheBytes(layout.cache_sets_, shape.head_dim));
  return layout;
}

SparseTask PartLayout::Task(std::byte* memory, uint32_t head) const {
  std::byte* const base = memory + head_bytes_ * head;
  const std::byte* const windows = Windows(memory, head);
  const auto token_count = static_cast<uint32_t>(shape_.token_count);
  const auto rows_at = [&](size_t first_row) {
    return DeviceRows{windows + first_row * row_bytes_, row_bytes_, shape_.dtype};
  };
  SparseTask task;
  if (form_ == PartForm::kFlat) task.head = FlatHeadAt(base, shape_.head_dim, token_count);
  task.keys.dtype = task.values.dtype = shape_.dtype;
  task.keys.stride_bytes = task.values.stride_bytes = row_bytes_;
  task.cache = RowCacheAt(base + cache_offset_, cache_sets_, shape_.head_dim, task.head.centre);
  task.token_begin = sink_tokens_;
  task.token_end = token_count - recent_tokens_;
  const uint32_t window_tokens = sink_tokens_ + recent_tokens_;
  task.windows[0] = {rows_at(0), rows_at(window_tokens), sink_tokens_};
  task.windows[1] = {rows_at(sink_tokens_), rows_at(window_tokens + sink_tokens_), recent_tokens_};
  return task;
}

}  // namespace alaya
