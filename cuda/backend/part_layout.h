// How a part lies on a device, in one of three forms.
//
// kFlat: for every head its index, the rows of its first and last tokens, and a cache of rows;
// an eighth of its keys and values at most. kWhole: all rows of a short part. kCoarse: the
// bytes of its coarse index, 1 % of its keys and values.

#ifndef ALAYA_CUDA_BACKEND_PART_LAYOUT_H_
#define ALAYA_CUDA_BACKEND_PART_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/sparse_task.h"
#include "index/attention/attention_device.h"

namespace alaya {

enum class PartForm : uint32_t { kFlat, kWhole, kCoarse };

class PartLayout {
 public:
  static constexpr uint64_t kShareOfKv = 8;  // a part takes one in so many bytes
  // Shorter parts are attended as fast where they are.
  static constexpr uint64_t kTokensMin = 4096;
  // As many of the first and last tokens as a usual window has, where there is room.
  static constexpr uint32_t kSinkTokens = 128;
  static constexpr uint32_t kRecentTokens = 512;

  // Parts that may lie there whole: fewer tokens are not worth a launch, more would take the
  // room of many indexes.
  static constexpr uint64_t kWholeTokensMin = 512;
  static constexpr uint64_t kWholeTokensMax = 16384;
  // Of a coarse index, as index/coarse makes them.
  static constexpr uint64_t kStretchTokens = 64;

  // None: a part of this shape cannot lie on a device so, or not in its share.
  static std::optional<PartLayout> Of(const DevicePartShape& shape);
  static std::optional<PartLayout> WholeOf(const DevicePartShape& shape);
  static std::optional<PartLayout> CoarseOf(const DevicePartShape& shape);

  PartForm form() const { return form_; }
  const DevicePartShape& shape() const { return shape_; }
  size_t head_bytes() const { return head_bytes_; }
  uint32_t stretch_count() const {  // of kCoarse
    return static_cast<uint32_t>((shape_.token_count + kStretchTokens - 1) / kStretchTokens);
  }
  size_t bytes() const { return head_bytes_ * shape_.kv_head_count; }
  uint32_t row_bytes() const { return row_bytes_; }
  uint32_t sink_tokens() const { return sink_tokens_; }
  uint32_t recent_tokens() const { return recent_tokens_; }
  uint32_t cache_sets() const { return cache_sets_; }

  // One head of a kFlat part in `memory`, 256-byte aligned: its index and its cache, the first
  // and the last tokens as windows, and no rows beside; all tokens between are searched.
  // Of a kWhole part: all tokens as the first window.
  SparseTask Task(std::byte* memory, uint32_t head) const;
  // Where its windows lie: keys of the first and of the last tokens, then their values.
  std::byte* Windows(std::byte* memory, uint32_t head) const {
    return memory + head_bytes_ * head + windows_offset_;
  }

 private:
  PartForm form_ = PartForm::kFlat;
  DevicePartShape shape_;
  uint32_t row_bytes_ = 0;
  uint32_t sink_tokens_ = 0;
  uint32_t recent_tokens_ = 0;
  uint32_t cache_sets_ = 0;
  size_t windows_offset_ = 0;  // in a head's memory
  size_t cache_offset_ = 0;
  size_t head_bytes_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_PART_LAYOUT_H_
