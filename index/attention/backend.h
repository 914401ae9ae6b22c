// The attention of one kv head over a whole sequence, and who computes it.
//
// A sequence is a chain of parts: stored segments, then the session's tail. The
// backend finds each query's tokens, attends to them and merges. The CPU
// implements this interface in cpu_backend.h; a GPU does in cuda/.
//
// Source: DESIGN.md sections 3 and 6; AlayaDB, arXiv:2504.10326, section 5.

#ifndef ALAYA_INDEX_ATTENTION_BACKEND_H_
#define ALAYA_INDEX_ATTENTION_BACKEND_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "index/attention/attention_part.h"
#include "index/sequence_part.h"
#include "index/target.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// The queries of one item for one kv head, and what they look at. All views must
// outlive the call.
struct AttentionTask {
  // [query_count, head_dim]; the group's query heads of each of the item's T
  // positions.
  MatrixView<const float> queries;
  // [query_count] sequence positions that a query may see: causality, partial
  // reuse and the caller's token range in one.
  std::span<const TokenRange> visible;
  std::span<const SequencePart> parts;
  Target target;
  Window window;    // unused by FullTarget
  float scale = 1;  // from score to logit, > 0
  // As in SearchRequest: of DIPR, and only as far as the parts' indexes can.
  bool estimate_rest = false;
  double rest_error = 0.01;
  bool explain = false;
  // Monotonic nanoseconds, for the report's times; null: times stay 0.
  uint64_t (*now_ns)() = nullptr;
};

// What happened.
struct AttentionReport {
  uint64_t tokens_scored = 0;    // exact scores, summed over queries
  uint64_t tokens_attended = 0;  // summed over queries
  bool tail_estimated = false;
  uint64_t search_ns = 0;
  uint64_t attend_ns = 0;
  std::vector<uint64_t> part_ns;  // time spent on each part
  // With explain only. Per query: tokens attended, and the share of the attention
  // mass inside the attended set.
  std::vector<uint64_t> query_tokens_attended;
  std::vector<float> query_covered_mass;
};

class AttentionBackend {
 public:
  virtual ~AttentionBackend() = default;

  // "cpu" or "cuda:0", and a line for people.
  virtual std::string name() const = 0;
  virtual std::string description() const = 0;

  // Writes the attention of every query to `output`.
  //
  // Guarantees: finite input gives finite output, while sums of values stay in
  //   float's range; a query without visible tokens gets output 0 and log_sum_exp
  //   -inf. After an error `output` is unspecified.
  // Errors: whatever a block read returns.
  // Threads: any number of calls at a time, with different outputs.
  virtual StatusOr<AttentionReport> Attend(const AttentionTask& task, AttentionPart output) = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_BACKEND_H_
