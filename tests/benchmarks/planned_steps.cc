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

void PlannedSteps::Observe(const AttendPlan& plan, const std::vector<AttentionReport>& reports) {
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
  const double ratio = done.segments[0].actual_us / done.segments[0].predicted_us;
  ++step_count_;
  if (ratio >= 0.5 && ratio <= 2) ++within_two_count_;
}

double PlannedSteps::share_within_two() const {
  return step_count_ == 0
             ? 1
             : static_cast<double>(within_two_count_) / static_cast<double>(step_count_);
}

}  // namespace alaya
