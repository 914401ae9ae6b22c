#include "cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <list>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/device/cuda_memory.h"
#include "cuda/device/cuda_status.h"
#include "cuda/device/cuda_stream.h"
#include "cuda/device/device_list.h"
#include "cuda/kernels/sparse_attention.h"

namespace alaya {
namespace {

// A device that does not answer for so long is lost.
constexpr std::chrono::seconds kAnswerTimeout{5};
// An answer takes tens of microseconds: it is waited for without sleeping at first.
constexpr std::chrono::microseconds kSpin{500};
constexpr size_t kSequencesMax = 64;

// The current device is the calling thread's affair.
Status UseDevice(int ordinal) { return CudaStatus(cudaSetDevice(ordinal), "choosing a device"); }

// Everything that a recorded sequence depends on; no padding, so that bytes compare.
struct GraphKey {
  SparseShape shape;
  SparseOptions options;
  SparseBatch batch;

  bool operator==(const GraphKey& other) const {
    return std::memcmp(&shape, &other.shape, sizeof(shape)) == 0 &&
           std::memcmp(&options, &other.options, sizeof(options)) == 0 &&
           batch.tasks == other.batch.tasks && batch.queries == other.batch.queries &&
           batch.scratch == other.batch.scratch && batch.outputs == other.batch.outputs &&
           batch.log_sum_exps == other.batch.log_sum_exps &&
           batch.rest_shares == other.batch.rest_shares &&
           batch.counts.tokens_attended == other.batch.counts.tokens_attended &&
           batch.counts.rows_scored == other.batch.counts.rows_scored &&
           batch.missed.entries == other.batch.missed.entries &&
           batch.missed.counts == other.batch.missed.counts &&
           batch.missed.capacity == other.batch.missed.capacity && batch.step == other.batch.step;
  }
};

struct Sequence {
  GraphKey key;
  std::optional<CudaGraph> graph;  // none: it was launched once
};

class CudaQueue final : public DeviceQueue {
 public:
  static StatusOr<std::unique_ptr<DeviceQueue>> Create(int ordinal) {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal));
    ALAYA_ASSIGN_OR_RETURN(CudaStream stream, CudaStream::Create());
    ALAYA_ASSIGN_OR_RETURN(CudaEvent mark, CudaEvent::Create());
    return std::unique_ptr<DeviceQueue>(new CudaQueue(ordinal, std::move(stream), std::move(mark)));
  }

  Status CopyToDevice(std::span<const std::byte> host, std::byte* device) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(
        cudaMemcpyAsync(device, host.data(), host.size(), cudaMemcpyHostToDevice, stream_.get()),
        "copying to the device");
  }
  Status CopyToHost(const std::byte* device, std::span<std::byte> host) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(
        cudaMemcpyAsync(host.data(), device, host.size(), cudaMemcpyDeviceToHost, stream_.get()),
        "copying from the device");
  }
  Status Clear(std::byte* device, size_t bytes) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(cudaMemsetAsync(device, 0, bytes, stream_.get()), "clearing memory");
  }
  Status EncodeCentre(const EncodeTask& task) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(LaunchEncodeCentre(task, stream_.get()), "launching an index's centre");
  }
  Status EncodeGroups(const EncodeTask& task) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(LaunchEncodeGroups(task, stream_.get()), "launching an index's groups");
  }
  Status AdmitRows(const RowOffers* offers, uint32_t offer_count, const uint32_t* step) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(LaunchAdmitRows(offers, offer_count, step, stream_.get()),
                      "launching the admission of rows");
  }

  Status FindNearest(const NearestTask& task) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(LaunchFindNearest(task, stream_.get()), "launching nearest keys");
  }

  Status ScoreStretches(const StretchTask& task) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return CudaStatus(LaunchScoreStretches(task, stream_.get()), "launching scores of stretches");
  }

  // A sequence that comes a second time is recorded: replaying it costs one call instead of
  // six. Not the first time: the runtime loads a kernel at its first launch, which a
  // recording may not contain.
  Status Attend(const SparseShape& shape, const SparseOptions& options,
                const SparseBatch& batch) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    const auto launch = [&](cudaStream_t stream) {
      return LaunchSparseAttention(shape, options, batch, stream);
    };
    const GraphKey key = {shape, options, batch};
    const auto known = std::ranges::find(sequences_, key, &Sequence::key);
    if (known == sequences_.end()) {
      sequences_.push_front({key, std::nullopt});
      if (sequences_.size() > kSequencesMax) sequences_.pop_back();
      return CudaStatus(launch(stream_.get()), "launching attention");
    }
    sequences_.splice(sequences_.begin(), sequences_, known);
    std::optional<CudaGraph>& graph = sequences_.front().graph;
    if (!graph) {
      ALAYA_ASSIGN_OR_RETURN(graph, stream_.Capture(launch));
    }
    return graph->Launch(stream_.get());
  }

  Status Mark() override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    return mark_.Record(stream_.get());
  }
  Status Wait() override {
    ALAYA_RETURN_IF_ERROR(UseDevice(ordinal_));
    const auto begin = std::chrono::steady_clock::now();
    while (true) {
      ALAYA_ASSIGN_OR_RETURN(const bool has_passed, mark_.HasPassed());
      if (has_passed) return OkStatus();
      const auto waited = std::chrono::steady_clock::now() - begin;
      if (waited > kAnswerTimeout) return Unavailable("the device does not answer");
      if (waited > kSpin) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  CudaQueue(int ordinal, CudaStream stream, CudaEvent mark)
      : ordinal_(ordinal), stream_(std::move(stream)), mark_(std::move(mark)) {}

  const int ordinal_;
  CudaStream stream_;
  CudaEvent mark_;
  std::list<Sequence> sequences_;  // used last first
};

class CudaDeviceOf final : public Device {
 public:
  CudaDeviceOf(CudaDevice device, std::unique_ptr<DeviceMemory> memory)
      : device_(std::move(device)), memory_(std::move(memory)) {}

  std::string name() const override { return "cuda:" + std::to_string(device_.ordinal); }
  std::string description() const override { return device_.description; }
  std::span<std::byte> memory() const override { return memory_->bytes(); }
  StatusOr<PinnedBuffer> AllocatePinned(size_t bytes) override {
    ALAYA_RETURN_IF_ERROR(UseDevice(device_.ordinal));
    return alaya::AllocatePinned(bytes);
  }
  StatusOr<std::unique_ptr<DeviceQueue>> CreateQueue() override {
    return CudaQueue::Create(device_.ordinal);
  }

 private:
  const CudaDevice device_;
  const std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace

StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int ordinal, uint64_t budget_bytes) {
  ALAYA_ASSIGN_OR_RETURN(const std::vector<CudaDevice> devices, ListCudaDevices());
  for (const CudaDevice& device : devices) {
    if (device.ordinal != ordinal) continue;
    ALAYA_ASSIGN_OR_RETURN(auto memory, DeviceMemory::Reserve(ordinal, budget_bytes));
    return std::unique_ptr<Device>(new CudaDeviceOf(device, std::move(memory)));
  }
  return Unavailable(devices.empty()
                         ? "this machine has no CUDA device"
                         : "this machine has no CUDA device " + std::to_string(ordinal));
}

}  // namespace alaya
