// An answer of the coarse index whose bounds a device finds: for all heads at once, when the
// first one is asked for. What the CPU does with them is what it does with its own
// (index/coarse), so the answers are the same.

#ifndef ALAYA_CUDA_BACKEND_COARSE_ATTENTION_H_
#define ALAYA_CUDA_BACKEND_COARSE_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/backend/part_layout.h"
#include "cuda/backend/part_loader.h"
#include "cuda/backend/stretch_lane.h"
#include "cuda/device/device_tier.h"
#include "index/attention/attention_device.h"

namespace alaya {

// A part on the device.
struct CoarsePart {
  PartLayout layout;
  std::shared_ptr<const ResidentIndex> index;
  PartLoader::Headers headers;
  std::byte* memory = nullptr;
};

// Without memory: for its counts.
StretchTask StretchTaskOf(const PartLayout& layout, uint32_t queries_per_head,
                          const std::byte* memory);

class CoarseAttention final : public DeviceAttention {
 public:
  // Called when the device fails.
  using OnFailure = std::function<void(const Status&)>;

  // Shapes: queries [kv_head_count, queries_per_head, head_dim]. The lane outlives this.
  CoarseAttention(const DeviceTask& task, CoarsePart part, std::vector<float> queries,
                  StretchLane* lane, OnFailure on_failure);

  StatusOr<DeviceHeadReport> Finish(KvHeadIndex head, const KvReader& rows,
                                    AttentionPart output) override;

 private:
  Status FindBounds();
  MatrixView<const float> Queries(uint32_t head) const;

  const DeviceTask task_;
  const CoarsePart part_;
  const std::vector<float> queries_;
  StretchLane& lane_;
  const OnFailure on_failure_;

  std::once_flag found_;  // guards the following
  Status bounds_status_;
  uint64_t device_ns_ = 0;
  std::vector<float> bounds_;  // [kv_head_count, queries_per_head, stretch_count]
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_COARSE_ATTENTION_H_
