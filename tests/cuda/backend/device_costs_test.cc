#include "cuda/backend/device_costs.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/cuda/device/fake_device.h"

namespace alaya {
namespace {

TEST(DeviceCostsTest, AreMeasuredAndTheMemoryIsGivenBack) {
  const auto control = std::make_shared<FakeDeviceControl>();
  const auto device = MakeFakeDevice(32 << 20, control);
  MemoryPool pool(device->memory().size());
  const auto lane = BatchLane::Create(device.get(), &pool, {64, 8 << 20});
  ASSERT_TRUE(lane.ok());
  const auto stretches = StretchLane::Create(device.get(), &pool, 256 << 10);
  ASSERT_TRUE(stretches.ok());
  const uint64_t used = pool.stats().used_bytes;

  const auto costs = MeasureDeviceCosts({device.get(), &pool, lane->get(), stretches->get()}, 8192);

  ASSERT_TRUE(costs.ok()) << Message(costs.status());
  EXPECT_GT(costs->call_us, 0);
  EXPECT_GT(costs->ns_per_token, 0);
  EXPECT_GT(costs->ns_per_row, 0);
  EXPECT_GT(costs->coarse_call_us, 0);
  EXPECT_GT(costs->ns_per_stretch, 0);
  EXPECT_EQ(pool.stats().used_bytes, used);
  EXPECT_GT(control->attend_count, 2U);
}

TEST(DeviceCostsTest, ALostDeviceHasNone) {
  const auto control = std::make_shared<FakeDeviceControl>();
  const auto device = MakeFakeDevice(32 << 20, control);
  MemoryPool pool(device->memory().size());
  const auto lane = BatchLane::Create(device.get(), &pool, {64, 8 << 20});
  ASSERT_TRUE(lane.ok());
  const auto stretches = StretchLane::Create(device.get(), &pool, 256 << 10);
  ASSERT_TRUE(stretches.ok());
  control->is_lost = true;

  EXPECT_EQ(MeasureDeviceCosts({device.get(), &pool, lane->get(), stretches->get()}, 8192)
                .status()
                .code(),
            StatusCode::kUnavailable);
}

TEST(DeviceCostsTest, ALaneWithoutRoomForWhatIsMeasuredIsRefused) {
  const auto device = MakeFakeDevice(32 << 20, std::make_shared<FakeDeviceControl>());
  MemoryPool pool(device->memory().size());
  const auto lane = BatchLane::Create(device.get(), &pool, {64, 1 << 20});
  ASSERT_TRUE(lane.ok());
  const auto stretches = StretchLane::Create(device.get(), &pool, 256 << 10);
  ASSERT_TRUE(stretches.ok());

  EXPECT_EQ(MeasureDeviceCosts({device.get(), &pool, lane->get(), stretches->get()}, 32768)
                .status()
                .code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace alaya
