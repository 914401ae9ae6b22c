#include "cuda/backend/coarse_attention.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cuda/backend/elapsed.h"
#include "index/attention/sparse_attention.h"
#include "index/coarse/coarse_index.h"

namespace alaya {

StretchTask StretchTaskOf(const PartLayout& layout, uint32_t queries_per_head,
                          const std::byte* memory) {
  StretchTask task;
  task.head_count = layout.shape().kv_head_count;
  task.query_count = queries_per_head;
  task.stretch_count = layout.stretch_count();
  task.row_bytes = layout.row_bytes();
  task.head_stride_bytes = layout.head_bytes();
  task.rows = memory;
  return task;
}

CoarseAttention::CoarseAttention(const DeviceTask& task, CoarsePart part,
                                 std::vector<float> queries, StretchLane* lane,
                                 OnFailure on_failure)
    : task_(task),
      part_(std::move(part)),
      queries_(std::move(queries)),
      lane_(*lane),
      on_failure_(std::move(on_failure)) {}

MatrixView<const float> CoarseAttention::Queries(uint32_t head) const {
  const size_t count = task_.queries_per_head;
  const size_t head_dim = task_.shape.head_dim;
  return {queries_.data() + head * count * head_dim, count, head_dim};
}

Status CoarseAttention::FindBounds() {
  const auto begin = std::chrono::steady_clock::now();
  const StretchTask task = StretchTaskOf(part_.layout, task_.queries_per_head, part_.memory);
  std::vector<StretchQuery> queries;
  std::vector<float> weights;
  for (uint32_t head = 0; head < task.head_count; ++head) {
    for (uint32_t q = 0; q < task.query_count; ++q) {
      queries.emplace_back(&(*part_.headers)[head], Queries(head).row(q));
      const std::span<const float> of_query = queries.back().weights();
      weights.insert(weights.end(), of_query.begin(), of_query.end());
    }
  }
  bounds_.resize(queries.size() * task.stretch_count);
  ALAYA_RETURN_IF_ERROR(lane_.Score(task, weights, bounds_));
  for (size_t i = 0; i < bounds_.size(); ++i) {
    bounds_[i] = queries[i / task.stretch_count].UpperBoundOf(bounds_[i]);
  }
  device_ns_ = NanosecondsSince(begin);
  return OkStatus();
}

StatusOr<DeviceHeadReport> CoarseAttention::Finish(KvHeadIndex head, const KvReader& rows,
                                                   AttentionPart output) {
  std::call_once(found_, [this] {
    bounds_status_ = FindBounds();
    if (!bounds_status_.ok()) on_failure_(bounds_status_);
  });
  ALAYA_RETURN_IF_ERROR(bounds_status_);
  const auto begin = std::chrono::steady_clock::now();
  const size_t count = task_.queries_per_head;
  const size_t stretch_count = part_.layout.stretch_count();
  const MatrixView<const float> queries = Queries(ToInt(head));
  const std::unique_ptr<CoarseIndex> index = CoarseIndex::WithBounds(
      (*part_.headers)[ToInt(head)], &rows, queries,
      {bounds_.data() + ToInt(head) * count * stretch_count, count, stretch_count});
  const std::vector<TokenRange> visible(count, task_.visible);
  const SequencePart part = {.reader = &rows, .index = index.get()};
  AttentionTask attention;
  attention.queries = queries;
  attention.visible = visible;
  attention.parts = {&part, 1};
  attention.target = task_.target;
  attention.window = {.sink = task_.sink.empty() ? 0 : task_.sink.end,
                      .recent = task_.recent.empty() ? 0 : task_.visible.end - task_.recent.begin};
  attention.scale = task_.scale;
  attention.explain = task_.explain;
  ALAYA_ASSIGN_OR_RETURN(AttentionReport found, SparseAttention(attention, output));
  DeviceHeadReport report;
  report.tokens_scored = found.tokens_scored;
  report.tokens_attended = found.tokens_attended;
  report.device_ns = device_ns_;
  report.host_ns = NanosecondsSince(begin);
  report.query_tokens_attended = std::move(found.query_tokens_attended);
  report.query_covered_mass = std::move(found.query_covered_mass);
  return report;
}

}  // namespace alaya
