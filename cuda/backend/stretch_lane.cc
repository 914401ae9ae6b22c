#include "cuda/backend/stretch_lane.h"

#include <cstring>
#include <utility>

#include "storage/types/check.h"

namespace alaya {

StatusOr<std::unique_ptr<StretchLane>> StretchLane::Create(Device* device, MemoryPool* pool,
                                                           uint64_t workspace_bytes) {
  std::unique_ptr<StretchLane> lane(new StretchLane(device));
  ALAYA_ASSIGN_OR_RETURN(lane->queue_, device->CreateQueue());
  ALAYA_ASSIGN_OR_RETURN(PinnedBuffer host, device->AllocatePinned(workspace_bytes));
  lane->host_ = std::make_unique<PinnedBuffer>(std::move(host));
  ALAYA_ASSIGN_OR_RETURN(lane->workspace_, pool->Allocate(workspace_bytes));
  return lane;
}

size_t StretchLane::WeightBytes(const StretchTask& task) {
  return size_t{task.head_count} * task.query_count * task.row_bytes * sizeof(float);
}

size_t StretchLane::SumBytes(const StretchTask& task) {
  return size_t{task.head_count} * task.query_count * task.stretch_count * sizeof(float);
}

bool StretchLane::Fits(const StretchTask& task) const {
  return WeightBytes(task) + SumBytes(task) <= host_->bytes().size();
}

Status StretchLane::Score(StretchTask task, std::span<const float> weights, std::span<float> sums) {
  ALAYA_CHECK(Fits(task));
  ALAYA_CHECK(weights.size_bytes() == WeightBytes(task) && sums.size_bytes() == SumBytes(task));
  std::byte* const memory = device_.memory().data() + workspace_.offset();
  const std::lock_guard lock(mutex_);
  std::memcpy(host_->data(), weights.data(), weights.size_bytes());
  task.weights = reinterpret_cast<const float*>(memory);
  task.sums = reinterpret_cast<float*>(memory + weights.size_bytes());
  const std::span<std::byte> host_sums =
      host_->bytes().subspan(weights.size_bytes(), sums.size_bytes());
  ALAYA_RETURN_IF_ERROR(queue_->CopyToDevice(host_->bytes().first(weights.size_bytes()), memory));
  ALAYA_RETURN_IF_ERROR(queue_->ScoreStretches(task));
  ALAYA_RETURN_IF_ERROR(queue_->CopyToHost(memory + weights.size_bytes(), host_sums));
  ALAYA_RETURN_IF_ERROR(queue_->Finish());
  std::memcpy(sums.data(), host_sums.data(), sums.size_bytes());
  return OkStatus();
}

}  // namespace alaya
