// The engine with a device that runs the kernels' programs on the host.

#include "server/engine/device_offers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuda/backend/cuda_backend.h"
#include "server/engine/index_build.h"
#include "server/engine/index_kinds.h"
#include "tests/cuda/device/fake_device.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/element_codec.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr uint64_t kTokens = 6000;

class DeviceOffersTest : public EngineTest {
 protected:
  // Costs: measured, if none are given.
  explicit DeviceOffersTest(const std::optional<DeviceCosts>& costs = {}) {
    // The CPU has no index and scans at a walk: plans depend on the device alone.
    options_.indexes.build_thread_count = 0;
    options_.costs->read_ns_per_byte = 100;
    CudaBackendOptions options;
    options.lane = {.task_count_max = 32,
                    .scratch_bytes = 8 << 20,
                    .missed_rows_max = 8000,
                    .admit_bytes = 1 << 18};
    options.calibration_tokens = 2048;
    options.costs = costs;
    auto device = CudaBackend::Open(MakeFakeDevice(48 << 20, control_), options);
    EXPECT_TRUE(device.ok()) << Message(device.status());
    device_ = *std::move(device);
    attention_device_ = device_.get();
    Register(sequence_.model());
    Import(sequence_, kTokens - 100);
    session_ = CreateSession(sequence_, kTokens - 100).session_id;
  }
  ~DeviceOffersTest() override { engine_.reset(); }

  AttendItem NextItem(uint64_t position, uint64_t count = 1) const {
    return DecodeItem(sequence_, session_, kFirst, {position, position + count});
  }
  // Asks about stored tokens until the device answers.
  void BringPartToDevice() {
    for (int i = 0; i < 2000; ++i) {
      const AttendResult result = Attend(QueryItem(sequence_, session_, kFirst, {10, 11}));
      ASSERT_TRUE(result.status.ok());
      if (result.stats.plans[0].on_device) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    FAIL() << "the part never came to the device";
  }
  // The full attention, from the CPU; `item` appends nothing.
  AttendResult Full(AttendItem item) {
    item.key.reset();
    item.value.reset();
    item.options.target = FullTarget();
    return Attend(item);
  }
  static void ExpectNear(const AttendResult& result, const AttendResult& full, double error) {
    ASSERT_TRUE(result.status.ok()) << Message(result.status);
    const auto floats = [](const AttendResult& of) {
      return Decode(std::as_bytes(std::span(of.output)), of.dtype);
    };
    const std::vector<float> output = floats(result);
    const std::vector<float> expected = floats(full);
    for (size_t head = 0; head < result.heads * result.tokens; ++head) {
      const auto begin = expected.begin() + static_cast<std::ptrdiff_t>(head * result.dim);
      const std::vector<double> of_head(begin, begin + static_cast<std::ptrdiff_t>(result.dim));
      EXPECT_LT(OutputError(std::span(output).subspan(head * result.dim, result.dim), of_head),
                error);
      EXPECT_NEAR(result.log_sum_exp[head], full.log_sum_exp[head], 0.03);
    }
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  std::unique_ptr<CudaBackend> device_;
  const TestSequence sequence_{{.name = "device",
                                .num_layers = 2,
                                .num_query_heads = 4,
                                .num_kv_heads = 2,
                                .head_dim = 128,
                                .dtype = DType::kBF16},
                               kTokens,
                               /*seed=*/5};
  std::string session_;
};

// As if the device were fast: it is asked as soon as it can answer.
class FastDeviceTest : public DeviceOffersTest {
 protected:
  FastDeviceTest() : DeviceOffersTest(DeviceCosts{.call_us = 0.01}) {}
};

TEST_F(DeviceOffersTest, AHotSegmentIsAnsweredByTheDeviceAndTheTailByTheCpu) {
  BringPartToDevice();
  AttendItem item = NextItem(kTokens - 100);
  item.options.explain = true;
  const uint64_t launches = control_->attend_count;

  const AttendResult result = Attend(item);

  EXPECT_EQ(control_->attend_count, launches + 1);
  ASSERT_EQ(result.stats.plans.size(), 1U);
  const PlanReport& plan = result.stats.plans[0];
  EXPECT_TRUE(plan.on_device);
  EXPECT_EQ(plan.tier, Tier::kGpu);
  EXPECT_EQ(plan.index, IndexKind::kFlat);
  EXPECT_THAT(plan.reason, testing::HasSubstr("on the GPU"));
  EXPECT_GT(plan.predicted_us, 0);
  EXPECT_GT(plan.actual_us, 0);
  ASSERT_EQ(result.stats.rejected_plans.size(), 1U);
  EXPECT_EQ(result.stats.rejected_plans[0].index, IndexKind::kExact);
  EXPECT_TRUE(result.stats.tail_estimated);
  uint64_t attended = 0;
  for (size_t head = 0; head < 4; ++head) {
    // The window and the session's own token.
    EXPECT_GT(result.stats.head_tokens_attended[head], 640U);
    EXPECT_GT(result.stats.head_covered_mass[head], 0.1F);
    EXPECT_LT(result.stats.head_covered_mass[head], 1.0F);
    attended += result.stats.head_tokens_attended[head];
  }
  EXPECT_EQ(result.stats.tokens_attended, attended);
  ASSERT_TRUE(engine().stats().device.has_value());
  EXPECT_EQ(engine().stats().device->part_count, 1U);
  ExpectNear(result, Full(item), 0.05);
}

TEST_F(DeviceOffersTest, SeveralPositionsOfAnItemGoTogether) {
  BringPartToDevice();
  const AttendItem item = NextItem(kTokens - 100, 3);
  const AttendResult result = Attend(item);

  ASSERT_TRUE(result.stats.plans.at(0).on_device);
  // By the definition the last position sees all three new tokens.
  AttendItem last = QueryItem(sequence_, session_, kFirst, {kTokens - 98, kTokens - 97});
  last.options.target = FullTarget();
  AttendResult last_of_item = result;
  const size_t row = size_t{4} * 128 * ElementBytes(result.dtype);
  last_of_item.output = result.output.substr(2 * row);
  last_of_item.log_sum_exp.assign(result.log_sum_exp.begin() + 8, result.log_sum_exp.end());
  last_of_item.tokens = 1;
  ExpectNear(last_of_item, Attend(last), 0.05);
}

TEST_F(DeviceOffersTest, APrefixOfTheSegmentIsAnsweredToo) {
  BringPartToDevice();
  session_ = CreateSession(sequence_, kTokens - 100, /*reuse_limit=*/4000).session_id;
  const AttendItem item = NextItem(4000);

  const AttendResult result = Attend(item);

  EXPECT_TRUE(result.stats.plans.at(0).on_device);
  ExpectNear(result, Full(item), 0.05);
}

TEST_F(DeviceOffersTest, OtherTargetsAreTheCpus) {
  BringPartToDevice();
  const uint64_t launches = control_->attend_count;
  AttendItem item = QueryItem(sequence_, session_, kFirst, {10, 11});
  for (const Target& target : {Target(TopKTarget{20}), Target(MassTarget{0.5})}) {
    item.options.target = target;
    EXPECT_FALSE(Attend(item).stats.plans.at(0).on_device);
  }
  item.options.target = DiprTarget();
  item.options.tail_estimate = false;
  EXPECT_FALSE(Attend(item).stats.plans.at(0).on_device);

  EXPECT_EQ(control_->attend_count, launches);
}

TEST_F(FastDeviceTest, FullAttentionToAShortSegmentIsTheDevicesOnceItIsThereWhole) {
  AttendItem item = QueryItem(sequence_, session_, kFirst, {10, 11});
  item.options.target = FullTarget();
  item.options.explain = true;
  const AttendResult by_cpu = Attend(item);
  ASSERT_FALSE(by_cpu.stats.plans.at(0).on_device);
  AttendResult result;
  for (int i = 0; i < 12000 && !(result = Attend(item)).stats.plans.at(0).on_device; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  ASSERT_TRUE(result.stats.plans[0].on_device);
  EXPECT_EQ(result.stats.plans[0].index, IndexKind::kExact);
  EXPECT_THAT(result.stats.plans[0].reason, testing::HasSubstr("on the GPU"));
  EXPECT_FALSE(result.stats.tail_estimated);
  EXPECT_EQ(result.stats.head_tokens_attended, by_cpu.stats.head_tokens_attended);
  ExpectNear(result, by_cpu, 1e-2);  // of bf16 outputs
}

TEST_F(FastDeviceTest, ACoarseIndexIsAnsweredWithTheDevicesBoundsAndSaysSo) {
  const IndexKindTable kinds = StandardIndexKinds();
  ASSERT_TRUE(BuildSegmentIndex(store_.get(), store_->ListSegments()[0],
                                *FindIndexKind(kinds, IndexKind::kCoarse), [] { return false; })
                  .ok());
  AttendItem item = QueryItem(sequence_, session_, kFirst, {10, 11});
  item.options.target = TopKTarget{20};
  item.options.explain = true;
  const AttendResult by_cpu = Attend(item);
  ASSERT_FALSE(by_cpu.stats.plans.at(0).on_device);
  ASSERT_EQ(by_cpu.stats.plans[0].index, IndexKind::kCoarse);
  AttendResult result;
  for (int i = 0; i < 12000 && !(result = Attend(item)).stats.plans.at(0).on_device; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  ASSERT_TRUE(result.stats.plans[0].on_device);
  EXPECT_EQ(result.stats.plans[0].index, IndexKind::kCoarse);
  EXPECT_EQ(result.stats.plans[0].tier, Tier::kGpu);
  EXPECT_THAT(result.stats.rejected_plans.at(0).reason,
              testing::HasSubstr("the cost of coarse on the GPU"));
  EXPECT_EQ(result.stats.head_tokens_attended, by_cpu.stats.head_tokens_attended);
  EXPECT_EQ(result.output, by_cpu.output);
  EXPECT_GT(control_->stretch_count, 0U);
}

TEST_F(DeviceOffersTest, AnItemWhoseDeviceIsLostUnderItIsAnsweredByTheCpu) {
  BringPartToDevice();
  const AttendItem item = NextItem(kTokens - 100);
  control_->latency = std::chrono::milliseconds(200);
  AttendResult result;
  std::thread caller([&] { result = Attend(item); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  control_->is_lost = true;
  caller.join();
  control_->latency = std::chrono::milliseconds(0);

  ASSERT_TRUE(result.status.ok()) << Message(result.status);
  EXPECT_FALSE(result.stats.plans.at(0).on_device);
  ExpectNear(result, Full(item), 1e-6);
  // It counted once, although two attempts were made.
  EXPECT_EQ(Info(session_).tail_tokens, 1U);
  EXPECT_EQ(engine().stats().device->failure_count, 1U);
  EXPECT_TRUE(Attend(NextItem(kTokens - 99)).status.ok());
}

TEST_F(DeviceOffersTest, ADeletedContextGivesItsMemoryBack) {
  BringPartToDevice();
  ASSERT_TRUE(engine().CloseSession(kTenant, session_).ok());
  const std::string id = engine().ListContexts({.tenant = kTenant}, "", 10)->at(0)->id;
  ASSERT_TRUE(engine().DeleteContext(kTenant, id).ok());
  for (int i = 0; i < 2000 && engine().stats().device->part_count > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  EXPECT_EQ(engine().stats().device->part_count, 0U);
}

}  // namespace
}  // namespace alaya
