#include "cuda/device/device_tier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace alaya {
namespace {

constexpr uint64_t kUnit = MemoryPool::kAlignment;

// A device that does what a test tells it to.
class FakeDevice : public IndexLoader {
 public:
  Status Load(TierKey key, const PoolBlock& block) override {
    EXPECT_GT(block.bytes(), 0U);
    loaded_.push_back(key);
    return on_load_ ? on_load_(key) : OkStatus();
  }

  std::vector<TierKey> loaded_;
  std::function<Status(TierKey)> on_load_;
};

class DeviceTierTest : public testing::Test {
 protected:
  // Room for three indexes of one unit.
  DeviceTierTest() : pool_(3 * kUnit), tier_(&pool_, &device_) {}

  void UseTimes(uint64_t segment, int count, uint64_t bytes = kUnit) {
    for (int i = 0; i < count; ++i) tier_.Use({segment, 0}, bytes);
  }
  bool IsResident(uint64_t segment) { return tier_.Use({segment, 0}, kUnit) != nullptr; }
  void PromoteAll() {
    while (tier_.Promote()) {
    }
  }

  FakeDevice device_;
  MemoryPool pool_;
  DeviceTier tier_;
};

TEST_F(DeviceTierTest, NothingIsResidentBeforeItWasWantedAndPromoted) {
  EXPECT_FALSE(tier_.Promote());
  EXPECT_FALSE(IsResident(1));

  EXPECT_TRUE(tier_.Promote());

  const auto index = tier_.Use({1, 0}, kUnit);
  ASSERT_NE(index, nullptr);
  EXPECT_EQ(index->key, (TierKey{1, 0}));
  EXPECT_EQ(index->block.bytes(), kUnit);
  EXPECT_FALSE(tier_.Promote());
  const DeviceTier::Stats stats = tier_.stats();
  EXPECT_EQ(stats.miss_count, 1U);
  EXPECT_EQ(stats.hit_count, 1U);
  EXPECT_EQ(stats.promotion_count, 1U);
  EXPECT_EQ(stats.resident_count, 1U);
}

TEST_F(DeviceTierTest, TheHottestComeFirstAndTheBudgetHolds) {
  for (uint64_t segment = 1; segment <= 5; ++segment) UseTimes(segment, static_cast<int>(segment));

  PromoteAll();

  EXPECT_EQ(device_.loaded_, (std::vector<TierKey>{{5, 0}, {4, 0}, {3, 0}}));
  EXPECT_EQ(tier_.stats().memory.used_bytes, 3 * kUnit);
  EXPECT_EQ(tier_.stats().demotion_count, 0U);
}

TEST_F(DeviceTierTest, AClearlyHotterIndexReplacesTheColdestOne) {
  for (uint64_t segment = 1; segment <= 3; ++segment) {
    UseTimes(segment, 10 * static_cast<int>(segment));
  }
  PromoteAll();

  UseTimes(4, 12);
  EXPECT_FALSE(tier_.Promote());  // hotter than 10, but not clearly
  UseTimes(4, 3);
  EXPECT_TRUE(tier_.Promote());

  EXPECT_FALSE(IsResident(1));
  EXPECT_TRUE(IsResident(2));
  EXPECT_TRUE(IsResident(3));
  EXPECT_TRUE(IsResident(4));
}

TEST_F(DeviceTierTest, ALargeIndexMustBeHotterThanAllThatGoForItTogether) {
  for (uint64_t segment = 1; segment <= 3; ++segment) UseTimes(segment, 10);
  PromoteAll();

  UseTimes(4, 30, 3 * kUnit);
  EXPECT_FALSE(tier_.Promote());
  EXPECT_EQ(tier_.stats().demotion_count, 0U);  // nothing goes in vain
  UseTimes(4, 10, 3 * kUnit);
  EXPECT_TRUE(tier_.Promote());

  EXPECT_EQ(tier_.stats().resident_count, 1U);
  EXPECT_EQ(tier_.stats().demotion_count, 3U);
}

TEST_F(DeviceTierTest, AnIndexThatIsBeingSearchedStays) {
  for (uint64_t segment = 1; segment <= 3; ++segment) UseTimes(segment, 5);
  PromoteAll();
  auto in_use = tier_.Use({1, 0}, kUnit);
  const auto also_in_use = tier_.Use({2, 0}, kUnit);
  const auto third = tier_.Use({3, 0}, kUnit);

  UseTimes(4, 100);
  EXPECT_FALSE(tier_.Promote());
  in_use.reset();
  EXPECT_TRUE(tier_.Promote());

  EXPECT_FALSE(IsResident(1));
  EXPECT_TRUE(IsResident(2));
}

TEST_F(DeviceTierTest, AnIndexThatGetsNoRoomDoesNotStandInTheWayOfOthers) {
  UseTimes(1, 100, 4 * kUnit);  // more than there is
  UseTimes(2, 1);

  EXPECT_TRUE(tier_.Promote());

  EXPECT_EQ(device_.loaded_, (std::vector<TierKey>{{2, 0}}));
}

TEST_F(DeviceTierTest, OldHeatFades) {
  UseTimes(1, 1000);
  UseTimes(2, static_cast<int>(12 * DeviceTier::kHalfLifeUses), 4 * kUnit);
  UseTimes(3, 10);

  PromoteAll();

  EXPECT_EQ(device_.loaded_, (std::vector<TierKey>{{3, 0}, {1, 0}}));
}

TEST_F(DeviceTierTest, AnIndexThatCannotBeMadeIsNotTriedAgain) {
  device_.on_load_ = [](TierKey key) {
    return key.segment == 1 ? DataLoss("a damaged block") : OkStatus();
  };
  UseTimes(1, 10);
  UseTimes(2, 5);

  EXPECT_FALSE(tier_.Promote());
  EXPECT_TRUE(tier_.Promote());

  EXPECT_FALSE(IsResident(1));
  EXPECT_TRUE(IsResident(2));
  EXPECT_EQ(tier_.stats().refused_count, 1U);
  EXPECT_EQ(tier_.stats().memory.used_bytes, kUnit);
  EXPECT_TRUE(tier_.stats().device_status.ok());
}

TEST_F(DeviceTierTest, AFailingDeviceIsGivenUpAndQueriesGoOn) {
  UseTimes(1, 10);
  UseTimes(2, 5);
  ASSERT_TRUE(tier_.Promote());
  auto in_use = tier_.Use({1, 0}, kUnit);
  device_.on_load_ = [](TierKey) { return Unavailable("the device is lost"); };

  EXPECT_FALSE(tier_.Promote());

  EXPECT_FALSE(IsResident(1));
  EXPECT_EQ(Message(tier_.stats().device_status), "the device is lost");
  EXPECT_EQ(device_.loaded_.size(), 2U);
  EXPECT_FALSE(tier_.Promote());  // and does not ask the device again
  EXPECT_EQ(device_.loaded_.size(), 2U);
  in_use.reset();
  EXPECT_EQ(tier_.stats().memory.used_bytes, 0U);
}

TEST_F(DeviceTierTest, ADeviceThatFailsInAQueryIsGivenUp) {
  UseTimes(1, 1);
  PromoteAll();

  tier_.GiveUp(Unavailable("a launch failed"));
  tier_.GiveUp(Unavailable("another one"));

  EXPECT_FALSE(IsResident(1));
  EXPECT_EQ(Message(tier_.stats().device_status), "a launch failed");
}

TEST_F(DeviceTierTest, IndexesOfADeadSegmentLeave) {
  for (const uint32_t layer : {0U, 7U}) tier_.Use({1, layer}, kUnit);
  UseTimes(2, 1);
  PromoteAll();
  const auto in_use = tier_.Use({1, 7}, kUnit);

  tier_.Forget(1);

  EXPECT_EQ(tier_.stats().resident_count, 1U);
  EXPECT_EQ(tier_.stats().memory.used_bytes, 2 * kUnit);  // its user has not left
  EXPECT_TRUE(IsResident(2));
}

TEST_F(DeviceTierTest, ASegmentThatDiesWhileItIsLoadedDoesNotComeIn) {
  UseTimes(1, 1);
  device_.on_load_ = [&](TierKey key) {
    tier_.Forget(key.segment);
    return OkStatus();
  };

  EXPECT_FALSE(tier_.Promote());

  EXPECT_EQ(tier_.stats().resident_count, 0U);
  EXPECT_EQ(tier_.stats().memory.used_bytes, 0U);
}

TEST_F(DeviceTierTest, OneLoadsAtATime) {
  UseTimes(1, 1);
  UseTimes(2, 1);
  device_.on_load_ = [&](TierKey) {
    EXPECT_FALSE(tier_.Promote());
    return OkStatus();
  };

  EXPECT_TRUE(tier_.Promote());
  EXPECT_EQ(device_.loaded_.size(), 1U);
}

TEST_F(DeviceTierTest, QueriesPromotionAndDeathsMayHappenAtTheSameTime) {
  std::atomic<bool> is_over = false;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 3000; ++i) {
        const uint64_t segment = (i * (t + 1)) % 7;
        const auto index = tier_.Use({segment, 0}, (1 + segment % 2) * kUnit);
        if (index != nullptr) {
          EXPECT_EQ(index->key.segment, segment);
        }
        if (i % 500 == 0) tier_.Forget(segment);
      }
    });
  }
  std::thread promoter([&] {
    while (!is_over) tier_.Promote();
  });
  for (std::thread& thread : threads) thread.join();
  is_over = true;
  promoter.join();

  EXPECT_LE(tier_.stats().memory.used_bytes, 3 * kUnit);
  for (uint64_t segment = 0; segment < 7; ++segment) tier_.Forget(segment);
  EXPECT_EQ(tier_.stats().memory.used_bytes, 0U);
}

}  // namespace
}  // namespace alaya
