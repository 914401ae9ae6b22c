#include "cuda/backend/device_nearest_keys.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels/nearest_keys.h"
#include "index/graph/build_progress.h"
#include "index/graph/query_lists.h"
#include "tests/cuda/backend/made_part.h"
#include "tests/cuda/device/fake_device.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {1500, 1, 64, DType::kBF16};
// Room for all keys and some queries: they come in several batches.
constexpr uint64_t kWorkspace = 220 << 10;

class DeviceNearestKeysTest : public testing::Test {
 protected:
  void SetUp() override { Open(kWorkspace); }

  void Open(uint64_t workspace_bytes) {
    finder_.reset();
    auto finder = DeviceNearestKeys::Create(
        device_.get(), &pool_, workspace_bytes,
        {.on_lost = [this](const Status& status) { lost_ += Message(status); },
         .on_wrong = [this](const Status& status) { wrong_ += Message(status); }});
    ASSERT_TRUE(finder.ok()) << Message(finder.status());
    finder_ = *std::move(finder);
  }

  StatusOr<QueryLists> Find(NearestKeyFinder* finder) {
    options_.first_token = 100;
    options_.query_neighbors = 32;
    options_.parallel_for = [](size_t count, const auto& function) {
      for (size_t i = 0; i < count; ++i) function(i);
    };
    options_.nearest_keys = finder;
    BuildProgress progress(&options_);
    return FindQueryLists(rows_, {queries_.data(), queries_.size() / 64, 64}, options_, progress);
  }
  // As the CPU does it, or with another order of equal scores.
  void ExpectRight(const StatusOr<QueryLists>& lists) {
    ASSERT_TRUE(lists.ok()) << Message(lists.status());
    const QueryLists expected = *Find(nullptr);
    ASSERT_EQ(lists->query_count(), expected.query_count());
    size_t differing = 0;
    for (size_t q = 0; q < expected.query_count(); ++q) {
      for (size_t i = 0; i < expected.width(); ++i) {
        differing += lists->list(q)[i] != expected.list(q)[i] ? 1U : 0U;
      }
    }
    EXPECT_LT(differing, expected.query_count() / 10);
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  std::unique_ptr<Device> device_ = MakeFakeDevice(4 << 20, control_);
  MemoryPool pool_{device_->memory().size()};
  std::string lost_;
  std::string wrong_;
  std::unique_ptr<DeviceNearestKeys> finder_;
  MadeRows rows_{kShape, 5};
  const std::vector<float> queries_ = MadeRows::MadeNumbers(size_t{150} * 64, 6);
  GraphBuildOptions options_;
};

TEST_F(DeviceNearestKeysTest, FindsWhatTheCpuFindsAndSaysSo) {
  ExpectRight(Find(finder_.get()));
  ExpectRight(Find(finder_.get()));

  EXPECT_EQ(finder_->stats().found_count, 2U);
  EXPECT_EQ(finder_->stats().left_count, 0U);
  EXPECT_GT(control_->nearest_count, 4U) << "queries were to come in batches";
  EXPECT_EQ(lost_ + wrong_, "");
}

TEST_F(DeviceNearestKeysTest, KeysWithoutRoomAreTheCpus) {
  Open(100 << 10);

  ExpectRight(Find(finder_.get()));

  EXPECT_EQ(finder_->stats().found_count, 0U);
  EXPECT_EQ(finder_->stats().left_count, 1U);
  EXPECT_EQ(control_->nearest_count, 0U);
}

TEST_F(DeviceNearestKeysTest, ListsLongerThanADeviceKeepsAreTheCpus) {
  std::vector<uint32_t> list(kNearestMax + 1);

  const StatusOr<bool> found = finder_->Find({.keys = &rows_, .queries = {queries_.data(), 1, 64}},
                                             {list.data(), 1, list.size()});

  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(*found);
}

TEST_F(DeviceNearestKeysTest, ADeviceThatIsLostInTheMiddleIsReplacedByTheCpuAndToldOnce) {
  control_->is_lost_now = [this] { return control_->nearest_count >= 2; };

  ExpectRight(Find(finder_.get()));
  ExpectRight(Find(finder_.get()));

  EXPECT_EQ(lost_, "the device is lost on purpose");
  EXPECT_EQ(wrong_, "");
  EXPECT_EQ(finder_->stats().found_count, 0U);
  EXPECT_EQ(finder_->stats().left_count, 2U);
}

TEST_F(DeviceNearestKeysTest, ADeviceThatFindsOthersIsReplacedByTheCpuAndToldOnce) {
  control_->finds_wrong_keys = true;

  ExpectRight(Find(finder_.get()));
  ExpectRight(Find(finder_.get()));

  EXPECT_NE(wrong_.find("nearest keys of query 0"), std::string::npos);
  EXPECT_EQ(wrong_.find("nearest", 1), std::string::npos) << wrong_;
  EXPECT_EQ(lost_, "");
  EXPECT_EQ(finder_->stats().found_count, 0U);
  EXPECT_EQ(finder_->stats().left_count, 2U);
}

TEST_F(DeviceNearestKeysTest, StopsWhenAskedAndPassesErrorsOfTheReaderOn) {
  std::atomic<int> asked{0};
  options_.should_stop = [&] { return ++asked == 2; };
  EXPECT_EQ(Find(finder_.get()).status().code(), StatusCode::kCancelled);
  options_.should_stop = nullptr;
  rows_.Damage();
  EXPECT_EQ(Find(finder_.get()).status().code(), StatusCode::kDataLoss);

  EXPECT_EQ(finder_->stats().found_count, 0U);
  EXPECT_EQ(lost_ + wrong_, "");
}

TEST_F(DeviceNearestKeysTest, APoolWithoutRoomIsAnError) {
  EXPECT_EQ(DeviceNearestKeys::Create(device_.get(), &pool_, 8 << 20, {}).status().code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace alaya
