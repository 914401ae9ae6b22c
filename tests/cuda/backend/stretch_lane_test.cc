#include "cuda/backend/stretch_lane.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/cuda/device/fake_device.h"

namespace alaya {
namespace {

class StretchLaneTest : public testing::Test {
 protected:
  void SetUp() override {
    auto lane = StretchLane::Create(device_.get(), &pool_, 4096);
    ASSERT_TRUE(lane.ok()) << Message(lane.status());
    lane_ = *std::move(lane);
    rows_ = *pool_.Allocate(5 * 16);
    std::byte* const memory = device_->memory().data() + rows_.offset();
    for (size_t i = 0; i < size_t{5} * 16; ++i) memory[i] = std::byte(i / 16);
    task_ = {.head_count = 1,
             .query_count = 2,
             .stretch_count = 5,
             .row_bytes = 16,
             .head_stride_bytes = 0,
             .rows = memory};
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  std::unique_ptr<Device> device_ = MakeFakeDevice(64 << 10, control_);
  MemoryPool pool_{device_->memory().size()};
  std::unique_ptr<StretchLane> lane_;
  PoolBlock rows_;
  StretchTask task_;
};

TEST_F(StretchLaneTest, ThreadsGetTheirOwnSums) {
  std::vector<std::thread> threads;
  for (int t = 1; t <= 4; ++t) {
    threads.emplace_back([this, t] {
      std::vector<float> weights(32, static_cast<float>(t));
      std::fill(weights.begin() + 16, weights.end(), -1.0F);
      std::vector<float> sums(10);
      for (int run = 0; run < 20; ++run) {
        ASSERT_TRUE(lane_->Score(task_, weights, sums).ok());
        for (int i = 0; i < 5; ++i) {
          ASSERT_EQ(sums[static_cast<size_t>(i)], static_cast<float>(16 * t * i));
          ASSERT_EQ(sums[static_cast<size_t>(5 + i)], static_cast<float>(-16 * i));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(StretchLaneTest, KnowsWhatFits) {
  EXPECT_TRUE(lane_->Fits(task_));
  task_.stretch_count = 600;
  EXPECT_FALSE(lane_->Fits(task_));
}

TEST_F(StretchLaneTest, ALostDeviceIsAnError) {
  control_->is_lost = true;
  std::vector<float> sums(10);

  EXPECT_EQ(lane_->Score(task_, std::vector<float>(32), sums).code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace alaya
