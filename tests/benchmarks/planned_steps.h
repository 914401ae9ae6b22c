// Decode steps as the server's planner runs them: planned, carried out, learnt from.

#ifndef ALAYA_TESTS_BENCHMARKS_PLANNED_STEPS_H_
#define ALAYA_TESTS_BENCHMARKS_PLANNED_STEPS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/attention/backend.h"
#include "index/token_index.h"
#include "server/engine/planner.h"
#include "tests/benchmarks/benchmark_layer.h"

namespace alaya {

// What the planner may choose beside the exact scan.
struct PlannedIndex {
  IndexKind kind{};
  uint64_t bytes = 0;  // of all kv heads
};

// A step that was carried out.
struct PlannedStep {
  PlanReport plan;            // with the actual time
  double attended_share = 0;  // beyond the window

  bool is_within_two() const {
    const double ratio = plan.actual_us / plan.predicted_us;
    return ratio >= 0.5 && ratio <= 2;
  }
};

class PlannedSteps {
 public:
  // Measures the machine. `layer` must outlive this.
  PlannedSteps(const BenchmarkLayer* layer, std::vector<PlannedIndex> indexes);

  // The plan of the next step: of an open target, or of DIPR.
  AttendPlan Plan(TokenRange visible, bool is_open);
  // Learns from it. `reports` are those of all kv heads.
  PlannedStep Observe(const AttendPlan& plan, const std::vector<AttentionReport>& reports);

 private:
  const BenchmarkLayer* layer_;
  std::vector<PlannedIndex> indexes_;
  Planner planner_;
  PlanRequest request_;  // of the last plan
};

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_PLANNED_STEPS_H_
