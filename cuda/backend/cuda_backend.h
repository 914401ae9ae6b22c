// The GPU as the engine sees it: parts come to the device by use, queries over those that
// are there are answered there, and what the device lacks is done on the CPU.
//
// A query's chosen rows come from the part's row cache. Rows that it does not have, or not
// exactly enough, are scored and attended by the CPU, from wherever the part's rows lie, and
// offered to the cache for the next step. So the device holds an eighth of what it answers for, and
// the host need not keep rows where a device could read them.
//
// One that fails once is given up: no more offers, what it held is gone, requests under
// way answer Unavailable.

#ifndef ALAYA_CUDA_BACKEND_CUDA_BACKEND_H_
#define ALAYA_CUDA_BACKEND_CUDA_BACKEND_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuda/backend/batch_lane.h"
#include "cuda/backend/device_costs.h"
#include "cuda/backend/device_nearest_keys.h"
#include "cuda/backend/part_layout.h"
#include "cuda/backend/part_loader.h"
#include "cuda/backend/stretch_lane.h"
#include "cuda/device/device.h"
#include "cuda/device/device_tier.h"
#include "cuda/device/memory_pool.h"
#include "index/attention/attention_device.h"

namespace alaya {

struct CudaBackendOptions {
  BatchLane::Options lane;
  std::optional<DeviceCosts> costs;  // none: measured when the backend opens
  uint32_t calibration_tokens = 32768;
  // For the queries of coarse indexes, and what comes back.
  uint64_t coarse_bytes = 256 << 10;
  // For the build of fine indexes; 0: the device takes no part in it.
  uint64_t build_bytes = 0;
  // Called once, from any thread, when the device is given up, before any request says so;
  // may be null.
  std::function<void(const Status&)> on_given_up;
  // The same when it takes no more part in builds, as what it found was wrong.
  std::function<void(const Status&)> on_wrong_build;

  // A sixteenth of the budget serves what every query needs, another one builds.
  static CudaBackendOptions ForBudget(uint64_t budget_bytes);
};

// Threads: any.
class CudaBackend : public AttentionDevice {
 public:
  // Positions x query heads of a group in one request: a few of speculative decoding.
  static constexpr uint32_t kQueriesPerHeadMax = 64;

  // Errors: ResourceExhausted if the device's memory is too small for what every query
  //   needs; Unavailable.
  static StatusOr<std::unique_ptr<CudaBackend>> Open(std::unique_ptr<Device> device,
                                                     CudaBackendOptions options);
  ~CudaBackend() override;

  std::string name() const override { return device_->name(); }
  std::string description() const override { return device_->description(); }
  std::unique_ptr<DeviceOffer> Offer(const DeviceTask& task,
                                     const DevicePartSource& source) override;
  NearestKeyFinder* nearest_keys() override { return nearest_keys_.get(); }
  DeviceStats stats() const override;

  const DeviceCosts& costs() const { return costs_; }

 private:
  class Accepted;
  class StandingOffer;
  // What queries over a part were like.
  struct PartExperience {
    double missed_rows = 0;        // of a head; a mean whose newest values weigh most
    uint64_t uses_to_sit_out = 0;  // it wanted too many
  };

  CudaBackend(std::unique_ptr<Device> device, CudaBackendOptions options)
      : options_(std::move(options)), device_(std::move(device)), pool_(device_->memory().size()) {}
  Status Start();
  // On a thread of its own.
  void Promote();

  bool CanAnswer(const DeviceTask& task, const PartLayout& layout) const;
  DeviceCost CostOf(const DeviceTask& task, const PartLayout& layout, double missed_rows) const;
  StatusOr<std::unique_ptr<DeviceAttention>> AcceptCoarse(const DeviceTask& task,
                                                          const PartLayout& layout,
                                                          std::shared_ptr<const ResidentIndex> part,
                                                          std::vector<float> queries);

  void Learn(TierKey key, double missed_rows);
  void SitOut(TierKey key);
  void GiveUp(const Status& status);
  void Forget(uint64_t segment);

  const CudaBackendOptions options_;
  const std::unique_ptr<Device> device_;
  MemoryPool pool_;
  std::unique_ptr<PartLoader> loader_;
  std::unique_ptr<DeviceTier> tier_;
  std::unique_ptr<BatchLane> lane_;
  std::unique_ptr<StretchLane> stretch_lane_;
  std::unique_ptr<DeviceNearestKeys> nearest_keys_;  // null: not wanted
  DeviceCosts costs_;
  std::atomic<uint64_t> failure_count_{0};
  std::atomic<uint64_t> coarse_request_count_{0};
  std::atomic<uint64_t> cached_row_count_{0};
  std::atomic<uint64_t> missed_row_count_{0};
  std::once_flag given_up_once_;
  std::atomic<bool> was_given_up_{false};

  std::mutex mutex_;
  std::condition_variable wanted_;
  bool is_wanted_ = false;  // guarded by mutex_, as all that follows
  bool is_stopping_ = false;
  std::map<TierKey, PartExperience> experience_;
  std::thread promoter_;  // last: it uses all of the above
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_CUDA_BACKEND_H_
