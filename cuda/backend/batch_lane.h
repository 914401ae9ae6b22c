// The way to a device: requests go in, and those that wait at the same time share one
// launch sequence, whatever session, layer or segment they are of.
//
// A request that finds the device idle is launched at once. What comes while a batch is
// under way waits for its end, which is when the next one is launched. Where the last
// batch had company, an idle lane waits for as many again, at most kCompanyWait: sessions
// that decode side by side stay together. A request alone never waits.
//
// There is no thread here: whoever waits for an answer waits for the device and launches
// the next batch, for all others.

#ifndef ALAYA_CUDA_BACKEND_BATCH_LANE_H_
#define ALAYA_CUDA_BACKEND_BATCH_LANE_H_

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device/device.h"
#include "cuda/device/device_tier.h"
#include "cuda/kernels/sparse_task.h"
#include "storage/types/status.h"

namespace alaya {

// Attention of one session over one part.
struct LaneRequest {
  std::shared_ptr<const ResidentIndex> part;  // keeps what the tasks point at
  std::vector<SparseTask> tasks;
  std::vector<float> queries;  // [tasks, query_count, head_dim]
  SparseShape shape;           // task_count as tasks
  SparseOptions options;
};

struct LaneAnswer {
  std::vector<float> outputs;       // [tasks, query_count, head_dim]
  std::vector<float> log_sum_exps;  // [tasks, query_count]
  std::vector<float> rest_shares;
  std::vector<uint32_t> tokens_attended;
  std::vector<uint32_t> rows_scored;          // [tasks]
  std::vector<std::vector<uint32_t>> missed;  // [tasks] entries by rising token
  uint64_t device_ns = 0;                     // from launch to answer
};

// Rows that a head's cache may take in.
struct LaneRows {
  std::shared_ptr<const ResidentIndex> part;
  RowCache cache;
  DType dtype = DType::kBF16;
  std::span<const uint32_t> tokens;
  std::span<const std::byte* const> keys;  // [tokens]
  std::span<const std::byte* const> values;
};

// Threads: any.
class BatchLane {
 public:
  struct Options {
    uint32_t task_count_max = 1024;     // of a batch
    uint64_t scratch_bytes = 64 << 20;  // bounds the tokens of a batch
    // Missed rows that a task can name.
    uint32_t missed_rows_max = 4096;
    // Rows that caches take in after a batch.
    uint64_t admit_bytes = 2 << 20;
  };
  static constexpr std::chrono::microseconds kCompanyWait{30};

  struct Stats {
    uint64_t request_count = 0;
    uint64_t batch_count = 0;
  };

  class Ticket;

  // Takes its buffers from the pool. Both must outlive the lane and its tickets.
  // Errors: ResourceExhausted if the pool has no room; what the device returns.
  static StatusOr<std::unique_ptr<BatchLane>> Create(Device* device, MemoryPool* pool,
                                                     const Options& options);
  // Waits for the device.
  ~BatchLane();
  BatchLane(const BatchLane&) = delete;
  BatchLane& operator=(const BatchLane&) = delete;

  // Can a request of this shape ever be launched?
  bool Fits(const SparseShape& shape) const;
  // Queues a request. Requires: it fits.
  std::shared_ptr<Ticket> Begin(LaneRequest request);
  // Waits. The answer is null if some task wanted more rows than it can name.
  // Errors: Unavailable: the device failed; then all that follows does.
  StatusOr<const LaneAnswer*> Wait(Ticket* ticket);
  // Offers rows; they come with the next batch, if there is room and nobody offered rows to
  // this cache since the last one.
  void OfferRows(const LaneRows& rows);

  Stats stats() const;

 private:
  // What a batch's shape makes of the device's and the host's buffers.
  struct InputLayout;
  struct OutputLayout;
  struct Buffers;
  // Rows on their way into caches, in pinned memory.
  struct AdmitBuffer {
    std::optional<PinnedBuffer> rows;
    size_t used_bytes = 0;
    std::vector<RowOffers> offers;  // `missed` and `count` are set at the launch
    std::vector<std::vector<uint32_t>> tokens;
    std::vector<std::shared_ptr<const ResidentIndex>> parts;

    void Clear();
  };
  using Clock = std::chrono::steady_clock;

  BatchLane(Device* device, const Options& options);
  Status Allocate(MemoryPool* pool);

  // All with mutex_ held; AwaitDevice releases it meanwhile.
  //
  // is_overdue: company was waited for long enough.
  void LaunchIfIdle(bool is_overdue);
  std::vector<std::shared_ptr<Ticket>> TakeBatch();
  Status Launch(const SparseShape& shape, const SparseOptions& options);
  void AwaitDevice(std::unique_lock<std::mutex>* lock);
  void Deliver();
  void Fail(const Status& status);

  Device& device_;
  const Options options_;
  std::unique_ptr<Buffers> buffers_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  std::deque<std::shared_ptr<Ticket>> waiting_;
  std::vector<std::shared_ptr<Ticket>> under_way_;
  SparseShape shape_;  // of what is under way
  Clock::time_point launched_at_;
  bool somebody_waits_ = false;  // for the device
  size_t company_ = 1;           // requests to expect together
  // Rows are read behind a batch's mark: they are surely read when the next one has passed.
  // So there is one to fill, the one of the last batch, and the one before.
  std::array<AdmitBuffer, 3> admits_;
  size_t admit_next_ = 0;
  Status device_status_;
  Stats stats_;
};

// One request's place in the lane.
class BatchLane::Ticket {
 public:
  explicit Ticket(LaneRequest request) : request_(std::move(request)) {}

 private:
  friend class BatchLane;

  LaneRequest request_;
  Clock::time_point arrival_ = Clock::now();
  bool is_done_ = false;
  bool wanted_too_many_rows_ = false;
  LaneAnswer answer_;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_BATCH_LANE_H_
