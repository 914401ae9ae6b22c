#include "tests/benchmarks/planned_steps.h"

#include <algorithm>
#include <utility>

#include "index/attention/cpu_backend.h"
#include "index/target.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

MachineCosts MeasuredCosts() {
  CpuBackend backend;
  const StatusOr<MachineCosts> costs = MeasureMachineCosts(&backend);
  ALAYA_CHECK(costs.ok());
  return *costs;
}

}  // namespace

PlannedSteps::PlannedSteps(const BenchmarkLayer* layer, std::vector<PlannedIndex> indexes)
    : layer_(layer), indexes_(std::move(indexes)), planner_(MeasuredCosts()) {}

AttendPlan PlannedSteps::Plan(TokenRange visible, bool is_open) {
  request_ = PlanRequest();
  request_.model = &layer_->model();
  if (!is_open) request_.target = DiprTarget{};
  request_.window = Window();
  SegmentFacts& segment = request_.segments.emplace_back();
  segment.visible = visible;
  for (const PlannedIndex& index : indexes_)
    segment.indexes.push_back({index.kind, index.bytes, 1});
  return planner_.Plan(request_);
}

PlannedStep PlannedSteps::Observe(const AttendPlan& plan,
                                  const std::vector<AttentionReport>& reports) {
  AttendPlan done = plan;
  PlanOutcome outcome;
  const uint64_t visible = plan.segments[0].tokens.size();
  const uint64_t window = std::min(visible, Window().sink + Window().recent);
  const uint64_t queries = layer_->model().num_query_heads;
  outcome.seen_tokens = (visible - window) * queries;
  for (const AttentionReport& report : reports) {
    done.segments[0].actual_us += static_cast<double>(report.part_ns[0]) / 1000;
    outcome.attended_tokens += report.tokens_attended;
  }
  outcome.attended_tokens -= std::min(outcome.attended_tokens, window * queries);
  planner_.Observe(request_, done, outcome);
  return {.plan = done.segments[0],
          .attended_share = static_cast<double>(outcome.attended_tokens) /
                            static_cast<double>(outcome.seen_tokens)};
}

}  // namespace alaya
