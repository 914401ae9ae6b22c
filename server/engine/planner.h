// The query optimizer: how each stored segment of a sequence is searched.
//
// Chooses by predicted cost among the exact scan and the indexes that a segment has:
// costs of the machine, measured at start, times the work of each way, which follows
// from token counts, residency and what earlier queries of the layer were like. What
// a plan really took corrects the next prediction of its kind and layer.
//
// A target that the caller left open becomes the cheaper one of full attention and DIPR
// with an estimate of the rest, if some segment can be searched so (all of the others is attended):
// DIPR alone misses the mass of diffuse heads. Predictions may be wrong by more than the two
// differ: if they are close, the one that seems dearer is tried a few times first.
//
// Source: AlayaDB, arXiv:2504.10326, section 6 (rules); costs instead of rules are ours.

#ifndef ALAYA_SERVER_ENGINE_PLANNER_H_
#define ALAYA_SERVER_ENGINE_PLANNER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "index/attention/attention_device.h"
#include "index/target.h"
#include "index/token_index.h"
#include "server/engine/attend_types.h"
#include "server/engine/layer_statistics.h"
#include "server/engine/machine_costs.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"

namespace alaya {

// An index that a segment has.
struct IndexFacts {
  IndexKind kind{};
  uint64_t bytes = 0;         // of this layer, all kv heads
  double resident_share = 1;  // of its blocks
};

struct SegmentFacts {
  TokenRange visible;         // sequence positions, not empty
  double resident_share = 1;  // of its visible pages
  std::vector<IndexFacts> indexes = {};
  bool has_exact = true;                  // may be scanned without an index
  std::optional<DeviceCost> device = {};  // a device's offer
};

struct PlanRequest {
  const Model* model = nullptr;
  LayerIndex layer{};
  std::optional<Target> target;        // none: the planner's choice
  std::optional<bool> estimate_rest;   // none: if some segment has what can
  size_t query_count = 1;              // positions, each with all query heads
  std::vector<SegmentFacts> segments;  // in the sequence's order
  uint64_t tail_token_count = 0;       // behind them
  Window window = {.sink = 0, .recent = 0};
  bool explain = false;  // say why
};

struct AttendPlan {
  Target target;
  bool estimate_rest = false;        // of whatever is not attended
  uint64_t try_count = 0;            // earlier steps of the layer, about as long, like this one
  std::vector<PlanReport> segments;  // the chosen plan of each segment of the request
  std::vector<PlanReport> rejected;  // with explain
  double predicted_us = 0;           // all segments and the tail, on one thread
  double cost_us = 0;                // by which it was chosen: the mean of steps like this one
  // Whether all that is seen of a segment is attended: if all is wanted, and where the rest has to
  // be estimated but nothing can do that.
  bool AttendsAllOf(const PlanReport& segment) const {
    const bool nothing_left_out = estimate_rest || std::holds_alternative<FullTarget>(target);
    return segment.index == IndexKind::kExact && nothing_left_out;
  }
  // False: so little work that waking other threads would cost more than it saves.
  bool parallel = false;
};

// What a plan's execution showed.
struct PlanOutcome {
  // Attended tokens of the planned segments beyond the window, over tokens seen there;
  // both summed over queries. 0 seen: nothing to learn.
  uint64_t attended_tokens = 0;
  uint64_t seen_tokens = 0;
};

// Threads: any.
class Planner {
 public:
  explicit Planner(MachineCosts costs) : costs_(costs) {}

  AttendPlan Plan(const PlanRequest& request) const;

  // Learns from a plan that was carried out: its segments carry actual_us.
  void Observe(const PlanRequest& request, const AttendPlan& plan, const PlanOutcome& outcome);

 private:
  AttendPlan PlanFor(const PlanRequest& request, const Target& target) const;

  const MachineCosts costs_;
  LayerStatistics statistics_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_PLANNER_H_
