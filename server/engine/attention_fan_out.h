// The attention of all heads of one item, split into independent units of one kv
// head and some positions each.

#ifndef ALAYA_SERVER_ENGINE_ATTENTION_FAN_OUT_H_
#define ALAYA_SERVER_ENGINE_ATTENTION_FAN_OUT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "index/attention/attention_device.h"
#include "index/attention/backend.h"
#include "server/engine/attend_types.h"
#include "server/engine/sequence_view.h"
#include "server/engine/worker_pool.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

// All pointers and views must outlive the call.
struct FanOutTask {
  AttentionBackend* backend = nullptr;
  WorkerPool* pool = nullptr;  // null: on the calling thread alone
  const Model* model = nullptr;
  const SequenceView* sequence = nullptr;
  // [segment_count] segments that a device attends to, for all positions at once; null: the
  // backend's. Empty: all are.
  std::span<const std::unique_ptr<DeviceAttention>> device;
  TensorView query;                 // checked
  std::vector<TokenRange> visible;  // [T] sequence positions that each position sees
  Target target;
  Window window;
  float scale = 1;
  bool estimate_rest = false;  // as in AttentionTask
  bool explain = false;
};

// What all units did together.
struct FanOutReport {
  uint64_t tokens_scored = 0;
  uint64_t tokens_attended = 0;
  bool tail_estimated = false;
  // Summed over units, which may run at the same time.
  uint64_t search_ns = 0;
  uint64_t attend_ns = 0;
  // Per segment of the view, summed over units; a device's part counts once.
  std::vector<uint64_t> segment_ns;
  // With explain: per query head.
  std::vector<uint64_t> head_tokens_attended;  // [T * Hq]
  std::vector<float> head_covered_mass;        // [T * Hq]
};

// Fills result->output, in the query's dtype, its shape and log_sum_exp.
// Errors: the first one of any unit; the result is unspecified then.
StatusOr<FanOutReport> AttendAllHeads(const FanOutTask& task, AttendResult* result);

// The float queries of one kv head for positions [position_begin, position_begin +
// position_count): row i * group_size + g is query head `head * group_size + g` of
// position i.
std::vector<float> GroupQueries(const TensorView& query, const Model& model, KvHeadIndex head,
                                size_t position_begin, size_t position_count);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ATTENTION_FAN_OUT_H_
