// The query optimizer: how each stored segment of a sequence is searched.
//
// Chooses by predicted cost from what it is told about the segments. A target that
// the caller left open becomes DIPR (DESIGN: the planner's default). Indexes arrive
// as further candidates of a segment; today every segment has one, the exact scan.

#ifndef ALAYA_SERVER_ENGINE_PLANNER_H_
#define ALAYA_SERVER_ENGINE_PLANNER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "index/target.h"
#include "server/engine/attend_types.h"
#include "server/engine/machine_costs.h"
#include "storage/types/model.h"

namespace alaya {

struct SegmentFacts {
  TokenRange visible;         // sequence positions, not empty
  double resident_share = 1;  // of its visible pages
};

struct PlanRequest {
  const Model* model = nullptr;
  std::optional<Target> target;  // none: the planner's choice
  size_t query_count = 1;        // positions, each with all query heads
  std::vector<SegmentFacts> segments;
  uint64_t tail_token_count = 0;
  bool explain = false;  // say why
};

struct AttendPlan {
  Target target;
  std::vector<PlanReport> segments;  // the chosen plan of each segment of the request
  std::vector<PlanReport> rejected;  // with explain
  double predicted_us = 0;           // all segments and the tail, on one thread
  // False: so little work that waking other threads would cost more than it saves.
  bool parallel = false;
};

// Threads: any.
class Planner {
 public:
  explicit Planner(MachineCosts costs) : costs_(costs) {}

  AttendPlan Plan(const PlanRequest& request) const;

 private:
  // One thread's time over all kv heads, microseconds.
  double PredictScan(const PlanRequest& request, uint64_t token_count, double resident_share,
                     double value_share) const;

  MachineCosts costs_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_PLANNER_H_
