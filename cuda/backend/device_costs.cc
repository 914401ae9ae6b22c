#include "cuda/backend/device_costs.h"

#include <algorithm>
#include <chrono>
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
constexpr uint32_t kWindowTokens = 1024;
constexpr int kRuns = 5;

// The fastest of a few answers to a task for so many heads, ns.
StatusOr<double> Measure(const std::shared_ptr<const ResidentIndex>& part, const SparseTask& task,
                         uint32_t task_count, BatchLane* lane) {
  LaneRequest request;
  request.part = part;
  request.tasks.assign(task_count, task);
  request.queries.resize(size_t{task_count} * kQueries * kHeadDim, 1.0F);
  request.shape = {kHeadDim, task_count, kQueries, task.head.token_count,
                   task.windows[0].token_count};
  request.options = {.scale = 1 / std::sqrt(float{kHeadDim}), .log_alpha = -4};
  if (!lane->Fits(request.shape)) {
    return ResourceExhausted("there is no room for what has to be measured");
  }
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

// The same of sums for one head's stretches.
StatusOr<double> MeasureStretches(StretchTask task, StretchLane* lane) {
  const std::vector<float> weights(size_t{task.query_count} * task.row_bytes, 1.0F);
  std::vector<float> sums(size_t{task.query_count} * task.stretch_count);
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    ALAYA_RETURN_IF_ERROR(lane->Score(task, weights, sums));
    const std::chrono::duration<double, std::nano> ns = std::chrono::steady_clock::now() - begin;
    best = run == 0 ? ns.count() : std::min(best, ns.count());
  }
  return best;
}

SparseTask SearchOf(const FlatHead& head) {
  SparseTask task;
  task.head = head;
  task.token_end = head.token_count;
  return task;
}

// Rows of zeros: what they hold takes no time.
SparseTask WindowOf(const std::byte* memory, uint32_t token_count) {
  const size_t row_bytes = kHeadDim * ElementBytes(DType::kBF16);
  SparseTask task;
  task.windows[0] = {{memory, row_bytes, DType::kBF16},
                     {memory + token_count * row_bytes, row_bytes, DType::kBF16},
                     token_count};
  return task;
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

StatusOr<DeviceCosts> MeasureDeviceCosts(const DeviceLanes& lanes, uint32_t token_count) {
  constexpr uint32_t kTasks = 8;
  const size_t bytes = FlatHeadBytes(kHeadDim, token_count);
  ALAYA_ASSIGN_OR_RETURN(PoolBlock block, lanes.pool->Allocate(bytes));
  auto part = std::make_shared<ResidentIndex>();
  std::byte* const memory = lanes.device->memory().data() + block.offset();
  part->block = std::move(block);
  ALAYA_ASSIGN_OR_RETURN(const PinnedBuffer made_up, lanes.device->AllocatePinned(bytes));
  MakeUpHead(FlatHeadAt(made_up.data(), kHeadDim, token_count));
  ALAYA_ASSIGN_OR_RETURN(const auto queue, lanes.device->CreateQueue());
  ALAYA_RETURN_IF_ERROR(queue->CopyToDevice(made_up.bytes(), memory));
  ALAYA_RETURN_IF_ERROR(queue->Finish());
  const FlatHead many = FlatHeadAt(memory, kHeadDim, token_count);
  const FlatHead few = FlatHeadAt(memory, kHeadDim, std::min(token_count, kFewTokens));
  ALAYA_ASSIGN_OR_RETURN(const double few_ns, Measure(part, SearchOf(few), 1, lanes.lane));
  ALAYA_ASSIGN_OR_RETURN(const double many_ns, Measure(part, SearchOf(many), kTasks, lanes.lane));
  DeviceCosts costs;
  costs.call_us = few_ns / 1000;
  costs.ns_per_token = std::max(0.0, many_ns - few_ns) / (double{kTasks} * token_count);

  ALAYA_RETURN_IF_ERROR(queue->Clear(memory, bytes));
  ALAYA_RETURN_IF_ERROR(queue->Finish());
  const auto room = static_cast<uint32_t>(bytes / (2 * kHeadDim * ElementBytes(DType::kBF16)));
  const uint32_t rows = std::min(room, kWindowTokens);
  ALAYA_ASSIGN_OR_RETURN(const double row_ns,
                         Measure(part, WindowOf(memory, rows), kTasks, lanes.lane));
  ALAYA_ASSIGN_OR_RETURN(const double one_row_ns,
                         Measure(part, WindowOf(memory, 1), 1, lanes.lane));
  costs.ns_per_row = std::max(0.0, row_ns - one_row_ns) / (double{kTasks} * rows);

  StretchTask stretches = {.head_count = 1,
                           .query_count = kQueries,
                           .stretch_count = 1,
                           .row_bytes = 2 * kHeadDim,
                           .head_stride_bytes = 0,
                           .rows = memory};
  ALAYA_ASSIGN_OR_RETURN(const double one_ns, MeasureStretches(stretches, lanes.stretch_lane));
  stretches.stretch_count = static_cast<uint32_t>(bytes / stretches.row_bytes);
  while (!lanes.stretch_lane->Fits(stretches)) stretches.stretch_count /= 2;
  ALAYA_ASSIGN_OR_RETURN(const double all_ns, MeasureStretches(stretches, lanes.stretch_lane));
  costs.coarse_call_us = one_ns / 1000;
  costs.ns_per_stretch =
      std::max(0.0, all_ns - one_ns) / (double{kQueries} * stretches.stretch_count);
  return costs;
}

}  // namespace alaya
