// Attention over stored parts that a device holds indexes of, all heads of a layer at once.
//
// A device has memory of its own for what it holds, and takes in what is used most. It
// makes an offer for a part that it has; whoever accepts gets the attention of every
// head, in the form that merges with that of all other parts. A device may fail at any
// time: nothing depends on it that the CPU cannot do.
//
// Source: DESIGN.md section 8. Implemented in cuda/.

#ifndef ALAYA_INDEX_ATTENTION_ATTENTION_DEVICE_H_
#define ALAYA_INDEX_ATTENTION_ATTENTION_DEVICE_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "index/attention/attention_part.h"
#include "index/graph/nearest_key_finder.h"
#include "index/index_blocks.h"
#include "index/kv_reader.h"
#include "index/target.h"
#include "index/token_index.h"
#include "storage/types/dtype.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// One layer of a stored segment. Its rows never change.
struct DevicePart {
  SegmentId segment{};
  LayerIndex layer{};

  friend auto operator<=>(const DevicePart&, const DevicePart&) = default;
};

struct DevicePartShape {
  uint64_t token_count = 0;
  uint32_t kv_head_count = 0;
  uint32_t head_dim = 0;
  DType dtype = DType::kBF16;

  friend bool operator==(const DevicePartShape&, const DevicePartShape&) = default;
};

// The rows of all heads of a part, for as long as this lives.
class DevicePartRows {
 public:
  virtual ~DevicePartRows() = default;
  virtual const KvReader& head(KvHeadIndex head) const = 0;
  // The blocks of its coarse index (index/coarse); null: it has none.
  virtual const IndexBlockReader* coarse(KvHeadIndex head) const = 0;
};

// How a device gets at a part's rows, some time later and on a thread of its own.
struct DevicePartSource {
  std::weak_ptr<const void> owner;  // expired: the part is gone for good
  std::function<std::unique_ptr<const DevicePartRows>()> open;  // null: it is gone
};

// What all queries of all heads ask of a part. Ranges are positions in the part and the same
// for all queries.
struct DeviceTask {
  DevicePart part;
  DevicePartShape shape;
  TokenRange visible;  // not empty
  TokenRange sink;     // of `visible`; attended whatever the scores, as all
  TokenRange recent;   // outside of both may be
  uint32_t queries_per_head = 0;
  float scale = 1;  // from score to logit, > 0
  Target target = DiprTarget();
  bool estimate_rest = true;  // as in AttentionTask
  double rest_error = 0.01;
  bool explain = false;     // as in AttentionTask
  bool has_coarse = false;  // the part has a coarse index that may answer
};

// What an accepted offer is expected to take.
struct DeviceCost {
  double device_us = 0;      // on the device, whatever the host does meanwhile
  double rows_per_head = 0;  // left to the CPU, which scores and attends to each
  // How it answers. kFlat: as a flat index with an estimate of the rest. kExact: by attention
  // to all that is visible. kCoarse: the device finds the bounds of a coarse index, and the
  // CPU does with them what it does with its own.
  IndexKind kind = IndexKind::kFlat;
};

// What one head's share of an answer was.
struct DeviceHeadReport {
  uint64_t tokens_scored = 0;    // exact scores, summed over queries
  uint64_t tokens_attended = 0;  // summed over queries
  uint64_t device_ns = 0;        // of the batch that this was in, the same for all heads
  uint64_t host_ns = 0;          // what the CPU did for this head
  bool rest_estimated = false;
  std::vector<uint64_t> query_tokens_attended;
  std::vector<float> query_covered_mass;  // 0 to 1: of the part's mass, what was attended
};

// Attention on its way.
class DeviceAttention {
 public:
  virtual ~DeviceAttention() = default;

  // Waits for the device and sets `output` to the attention of the head's queries to the
  // part.
  //
  // Shapes: output [queries_per_head]. `rows` are the head's.
  // Errors: Unavailable if the device failed, ResourceExhausted if the queries want more
  //   rows than it can name: the CPU does it then; whatever a block read returns.
  // Threads: any number of heads at a time.
  virtual StatusOr<DeviceHeadReport> Finish(KvHeadIndex head, const KvReader& rows,
                                            AttentionPart output) = 0;
};

class DeviceOffer {
 public:
  virtual ~DeviceOffer() = default;

  virtual DeviceCost cost() const = 0;
  // Begins and returns at once; may be answered together with others'.
  //
  // Shapes: queries [kv_head_count * queries_per_head, head_dim], those of a head together.
  // Errors: Unavailable.
  virtual StatusOr<std::unique_ptr<DeviceAttention>> Accept(MatrixView<const float> queries) = 0;
};

struct DeviceStats {
  uint64_t used_bytes = 0;
  uint64_t capacity_bytes = 0;
  uint64_t part_count = 0;  // that it holds
  uint64_t hit_count = 0;   // uses that found their part
  uint64_t miss_count = 0;
  uint64_t promotion_count = 0;
  uint64_t demotion_count = 0;
  uint64_t request_count = 0;     // offers accepted
  uint64_t batch_count = 0;       // launches that they took
  uint64_t failure_count = 0;     // requests that the CPU had to answer
  uint64_t cached_row_count = 0;  // rows that queries wanted and the device had
  uint64_t missed_row_count = 0;  // and did not have
  // Heads of fine indexes whose nearest keys the device found, and those that it left to the
  // CPU after all.
  uint64_t found_head_count = 0;
  uint64_t left_head_count = 0;
  Status status;  // why the device was given up, or OK
};

// Threads: any.
class AttentionDevice {
 public:
  virtual ~AttentionDevice() = default;

  virtual std::string name() const = 0;  // "cuda:0"
  virtual std::string description() const = 0;

  // Counts a use of the part, which brings it to the device in time. Null: not here, or not
  // for this task.
  virtual std::unique_ptr<DeviceOffer> Offer(const DeviceTask& task,
                                             const DevicePartSource& source) = 0;
  // For the build of fine indexes; null: the device does not help there.
  virtual NearestKeyFinder* nearest_keys() = 0;
  virtual DeviceStats stats() const = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_ATTENTION_DEVICE_H_
