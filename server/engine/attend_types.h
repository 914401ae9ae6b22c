// What the engine is asked for and what it answers, in its own words; no proto.

#ifndef ALAYA_SERVER_ENGINE_ATTEND_TYPES_H_
#define ALAYA_SERVER_ENGINE_ATTEND_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/target.h"
#include "index/token_index.h"
#include "storage/types/dtype.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct AttendOptions {
  std::optional<double> scale;   // none: 1 / sqrt(head_dim)
  std::optional<Target> target;  // none: the planner's default
  Window window;
  std::optional<TokenRange> token_range;  // none: all tokens
  std::optional<bool> tail_estimate;
  bool explain = false;
};

// Attention of one layer of one session. The views must live until the answer.
struct AttendItem {
  std::string tenant;
  std::string session_id;
  LayerIndex layer{};
  std::optional<TensorView> query;  // none: the item only appends
  std::optional<TensorView> key;    // both or neither
  std::optional<TensorView> value;
  AttendOptions options;
};

// Where bytes came from. The numbers equal those of the API's Tier.
enum class Tier : uint8_t { kGpu = 1, kMemory = 2, kDisk = 3 };

// How one segment was, or could have been, searched.
struct PlanReport {
  TokenRange tokens;  // visible ones, in sequence positions
  IndexKind index = IndexKind::kExact;
  bool on_device = false;  // the device's index of this kind
  std::optional<Tier> tier;
  double predicted_us = 0;
  double learnt_factor = 1;  // what earlier queries showed; predicted_us contains it
  double mean_factor = 1;    // the same on the average, by which plans are compared
  double actual_us = 0;      // chosen plans
  std::string reason;
};

struct AttendStats {
  std::vector<PlanReport> plans;
  std::vector<PlanReport> rejected_plans;
  uint64_t tokens_scored = 0;
  uint64_t tokens_attended = 0;
  bool tail_estimated = false;
  Tier tier = Tier::kMemory;
  double queue_us = 0;
  double search_us = 0;
  double attend_us = 0;
  double engine_us = 0;
  std::vector<uint64_t> head_tokens_attended;  // [T * Hq] with explain
  std::vector<float> head_covered_mass;        // [T * Hq] with explain
};

// The times that one stage of many items took.
struct AttendStageTimes {
  struct Bucket {
    double upper_seconds = 0;
    uint64_t items = 0;  // that took at most so long
  };

  std::string_view stage;  // "queue", "search", "attend" or, for all, "engine"
  uint64_t items = 0;
  double seconds = 0;
  std::vector<Bucket> buckets;  // by rising bound; the last one's is infinity
};

struct AttendResult {
  Status status;
  // Of the query's dtype, [tokens, heads, dim]; empty without a query.
  DType dtype = DType::kF32;
  size_t tokens = 0;
  size_t heads = 0;
  size_t dim = 0;
  std::string output;              // bytes, ready for the wire
  std::vector<float> log_sum_exp;  // [tokens * heads]
  AttendStats stats;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ATTEND_TYPES_H_
