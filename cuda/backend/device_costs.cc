#include "cuda/backend/device_costs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/kernels/flat_head.h"

namespace alaya {
namespace {

constexpr uint32_t kHeadDim = 128;
constexpr uint32_t kQueries = 4;
constexpr uint32_t kFewTokens = 1024;
constexpr int kRuns = 5;

// The fastest of a few answers, ns.
StatusOr<double> Measure(const std::shared_ptr<const ResidentIndex>& part, const FlatHead& head,
                         uint32_t task_count, BatchLane* lane) {
  LaneRequest request;
  request.part = part;
  SparseTask task;
  task.head = head;
  task.token_end = head.token_count;
  request.tasks.assign(task_count, task);
  request.queries.resize(size_t{task_count} * kQueries * kHeadDim, 1.0F);
  request.shape = {kHeadDim, task_count, kQueries, head.token_count, 0};
  request.options = {.scale = 1 / std::sqrt(float{kHeadDim}), .log_alpha = -4};
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const auto ticket = lane->Begin(request);
    ALAYA_ASSIGN_OR_RETURN(const LaneAnswer* const answer, lane->Wait(ticket.get()));
    if (answer == nullptr) return Internal("more rows were wanted than there are keys");
    const auto ns = static_cast<double>(answer->device_ns);
    best = run == 0 ? ns : std::min(best, ns);
  }
  return best;
}

// Codes at random, of keys whose logits have a deviation of about 3: few reach the bar.
void MakeUpHead(const FlatHead& head) {
  constexpr uint16_t kScale = 0x3FA6;  // bf16 of 1.3
  constexpr uint16_t kError = 0x40C8;  // bf16 of 6.25
  const size_t groups = CodeGroups(head.token_count);
  const size_t tokens = groups * kGroupTokensOnDevice;
  uint32_t state = 1;
  for (size_t i = 0; i < tokens * CodeWords(kHeadDim); ++i) {
    state = state * 1664525 + 1013904223;
    head.codes[i] = state ^ state >> 16;
  }
  std::fill_n(head.scales, tokens, kScale);
  std::fill_n(head.errors, tokens, kError);
  std::fill_n(head.value_means, groups * kHeadDim, uint16_t{0});
  std::fill_n(head.centre, kHeadDim, 0.0F);
  *head.summary = {0, 0, 39.0F * static_cast<float>(tokens), 1144.0F * static_cast<float>(tokens)};
}

}  // namespace

StatusOr<DeviceCosts> MeasureDeviceCosts(Device* device, MemoryPool* pool, BatchLane* lane,
                                         uint32_t token_count) {
  constexpr uint32_t kTasks = 8;
  const size_t bytes = FlatHeadBytes(kHeadDim, token_count);
  ALAYA_ASSIGN_OR_RETURN(PoolBlock block, pool->Allocate(bytes));
  auto part = std::make_shared<ResidentIndex>();
  std::byte* const memory = device->memory().data() + block.offset();
  part->block = std::move(block);
  ALAYA_ASSIGN_OR_RETURN(const PinnedBuffer made_up, device->AllocatePinned(bytes));
  MakeUpHead(FlatHeadAt(made_up.data(), kHeadDim, token_count));
  ALAYA_ASSIGN_OR_RETURN(const auto queue, device->CreateQueue());
  ALAYA_RETURN_IF_ERROR(queue->CopyToDevice(made_up.bytes(), memory));
  ALAYA_RETURN_IF_ERROR(queue->Mark());
  ALAYA_RETURN_IF_ERROR(queue->Wait());
  const FlatHead many = FlatHeadAt(memory, kHeadDim, token_count);
  const FlatHead few = FlatHeadAt(memory, kHeadDim, std::min(token_count, kFewTokens));
  ALAYA_ASSIGN_OR_RETURN(const double few_ns, Measure(part, few, 1, lane));
  ALAYA_ASSIGN_OR_RETURN(const double many_ns, Measure(part, many, kTasks, lane));
  DeviceCosts costs;
  costs.call_us = few_ns / 1000;
  costs.ns_per_token = std::max(0.0, many_ns - few_ns) / (double{kTasks} * token_count);
  return costs;
}

}  // namespace alaya
