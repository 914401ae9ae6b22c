#include "tests/cuda/device/fake_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <thread>
#include <utility>

#include "tests/cuda/kernels/host_sequences.h"

namespace alaya {
namespace {

constexpr std::align_val_t kAlignment{256};

// Begins as NaN in every type of float.
std::byte* NewMemory(size_t bytes) {
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  std::memset(memory, 0xFF, bytes);
  return memory;
}
void DeleteMemory(std::byte* memory) { ::operator delete(memory, kAlignment); }

class FakeQueue final : public DeviceQueue {
 public:
  explicit FakeQueue(std::shared_ptr<FakeDeviceControl> control) : control_(std::move(control)) {}

  Status CopyToDevice(std::span<const std::byte> host, std::byte* device) override {
    return Later([=] { std::memcpy(device, host.data(), host.size()); });
  }
  Status CopyToHost(const std::byte* device, std::span<std::byte> host) override {
    return Later([=] { std::memcpy(host.data(), device, host.size()); });
  }
  Status Clear(std::byte* device, size_t bytes) override {
    return Later([=] { std::memset(device, 0, bytes); });
  }
  Status EncodeCentre(const EncodeTask& task) override {
    return Later([=] { EncodeCentreOnHost(task); });
  }
  Status EncodeGroups(const EncodeTask& task) override {
    ++control_->encode_count;
    return Later([=] { EncodeGroupsOnHost(task); });
  }
  Status Attend(const SparseShape& shape, const SparseOptions& options,
                const SparseBatch& batch) override {
    ++control_->attend_count;
    control_->task_count += shape.task_count;
    return Later([=] { AttendOnHost(shape, options, batch); });
  }
  Status AdmitRows(const RowOffers* offers, uint32_t offer_count, const uint32_t* step) override {
    control_->admit_count += offer_count;
    return Later([=] { AdmitRowsOnHost(offers, offer_count, step); });
  }
  Status FindNearest(const NearestTask& task) override {
    ++control_->nearest_count;
    const bool is_wrong = control_->finds_wrong_keys;
    return Later([=] {
      FindNearestOnHost(task);
      if (is_wrong) task.tokens[0] = (task.tokens[0] + 1) % task.token_count;
    });
  }
  Status ScoreStretches(const StretchTask& task) override {
    ++control_->stretch_count;
    return Later([=] { ScoreStretchesOnHost(task); });
  }
  Status Mark() override {
    marked_ = work_.size();
    return Refusal();
  }
  Status Wait() override {
    std::this_thread::sleep_for(control_->latency.load());
    for (; marked_ > 0; --marked_) {
      ALAYA_RETURN_IF_ERROR(Refusal());
      work_.front()();
      work_.pop_front();
    }
    return Refusal();
  }

 private:
  Status Refusal() const {
    if (control_->is_lost_now && control_->is_lost_now()) control_->is_lost = true;
    return control_->is_lost ? Unavailable("the device is lost on purpose") : OkStatus();
  }
  Status Later(std::function<void()> work) {
    ALAYA_RETURN_IF_ERROR(Refusal());
    work_.push_back(std::move(work));
    return OkStatus();
  }

  const std::shared_ptr<FakeDeviceControl> control_;
  std::deque<std::function<void()>> work_;
  size_t marked_ = 0;  // of `work_`
};

class FakeDevice final : public Device {
 public:
  FakeDevice(uint64_t memory_bytes, std::shared_ptr<FakeDeviceControl> control)
      : control_(std::move(control)),
        bytes_(memory_bytes),
        memory_(NewMemory(memory_bytes), &DeleteMemory) {}

  std::string name() const override { return "fake:0"; }
  std::string description() const override { return "programs on the host"; }
  std::span<std::byte> memory() const override { return {memory_.get(), bytes_}; }
  StatusOr<PinnedBuffer> AllocatePinned(size_t bytes) override {
    if (control_->is_lost) return Unavailable("the device is lost on purpose");
    return PinnedBuffer(NewMemory(bytes), bytes, &DeleteMemory);
  }
  StatusOr<std::unique_ptr<DeviceQueue>> CreateQueue() override {
    if (control_->is_lost) return Unavailable("the device is lost on purpose");
    return std::make_unique<FakeQueue>(control_);
  }

 private:
  const std::shared_ptr<FakeDeviceControl> control_;
  const uint64_t bytes_;
  const std::unique_ptr<std::byte, void (*)(std::byte*)> memory_;
};

}  // namespace

std::unique_ptr<Device> MakeFakeDevice(uint64_t memory_bytes,
                                       std::shared_ptr<FakeDeviceControl> control) {
  return std::make_unique<FakeDevice>(memory_bytes, std::move(control));
}

}  // namespace alaya
