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

class PlannedSteps {
 public:
  // Measures the machine. `layer` must outlive this.
  PlannedSteps(const BenchmarkLayer* layer, std::vector<PlannedIndex> indexes);

  // The plan of the next step: of an open target, or of DIPR.
  AttendPlan Plan(TokenRange visible, bool is_open);
  // Learns from it. `reports` are those of all kv heads.
  void Observe(const AttendPlan& plan, const std::vector<AttentionReport>& reports);

  // Share of the steps whose prediction was within a factor of 2; the first ones, before
  // anything was observed, included.
  double share_within_two() const;
  size_t step_count() const { return step_count_; }

 private:
  const BenchmarkLayer* layer_;
  std::vector<PlannedIndex> indexes_;
  Planner planner_;
  PlanRequest request_;  // of the last plan
  size_t step_count_ = 0;
  size_t within_two_count_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_PLANNED_STEPS_H_
