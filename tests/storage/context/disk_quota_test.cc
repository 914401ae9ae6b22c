#include "storage/context/disk_quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMegabyte = 1'000'000;

TEST(DiskQuotaTest, RefusesAtTheMarkAndNamesBoth) {
  uint64_t stored = 99;
  DiskQuota quota(
      {.high_water_bytes = 100}, [&] { return stored; }, [] { FAIL(); });

  EXPECT_TRUE(quota.Check().ok());
  quota.AddWriting(1);
  const Status refused = quota.Check();
  quota.RemoveWriting(1);

  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("100 bytes on disk"));
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("disk_high_water is 100"));
  EXPECT_TRUE(quota.Check().ok());
}

TEST(DiskQuotaTest, EvictsBeforeItRefuses) {
  uint64_t stored = 100;
  int evictions = 0;
  DiskQuota quota(
      {.high_water_bytes = 100, .evicts = true}, [&] { return stored; },
      [&] {
        ++evictions;
        stored -= 30;
      });

  EXPECT_TRUE(quota.Check().ok());
  EXPECT_TRUE(quota.Check().ok());
  EXPECT_EQ(evictions, 1);
  stored = 200;
  EXPECT_FALSE(quota.Check().ok());
}

TEST(DiskQuotaTest, WithoutAMarkThereIsNoQuota) {
  DiskQuota quota(
      {}, [] { return ~uint64_t{0}; }, [] { FAIL(); });
  EXPECT_TRUE(quota.Check().ok());
}

// A context of 1000 tokens takes a little more.
class QuotaStoreTest : public StoreTest {
 protected:
  void Open(DiskQuotaOptions quota) {
    store_.reset();
    auto store = ContextStore::Open({.directory = directory_ / "data",
                                     .memory_budget_bytes = kBudget,
                                     .disk_reserve_bytes = 0,
                                     .quota = std::move(quota)});
    ASSERT_OK(store.status());
    store_ = *std::move(store);
  }
  Status ImportOne(const std::string& id, Labels labels = {}) {
    const auto seed = static_cast<uint32_t>(id.back());
    return Import(*store_, {.id = id,
                            .tokens = SomeTokens(1000, seed),
                            .seed = seed,
                            .create_time_ms = ++time_ms_,
                            .labels = std::move(labels)})
        .status();
  }
  bool Has(const std::string& id) { return store_->FindContext("default", id).ok(); }

  int64_t time_ms_ = 0;
};

TEST_F(QuotaStoreTest, StopsWritesAndNotReads) {
  Open({.high_water_bytes = 2 * kMegabyte + kMegabyte / 2});
  ASSERT_OK(ImportOne("a"));
  ASSERT_OK(ImportOne("b"));
  ASSERT_OK(ImportOne("c"));

  EXPECT_EQ(ImportOne("d").code(), StatusCode::kResourceExhausted);

  const auto context = store_->FindContext("default", "a");
  ASSERT_OK(context.status());
  ASSERT_OK(VerifySegment(*store_, *(*context)->chain[0].segment, 'a'));
  ASSERT_OK(store_->DeleteContext("default", "b").status());
  ASSERT_OK(store_->Compact().status());
  ASSERT_OK(ImportOne("d"));
}

TEST_F(QuotaStoreTest, EvictsWhatWasNotUsedForLongestDownToTheLowMark) {
  Open({.high_water_bytes = 4 * kMegabyte,
        .evicts = true,
        .low_water_bytes = 2 * kMegabyte + kMegabyte / 2});
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_OK(ImportOne(id));
  store_->FindContext("default", "a").value()->Touch(TimeAt(1'000'000));
  ASSERT_OK(store_->UpdateContext("default", "b", {.pinned = true}).status());

  ASSERT_OK(ImportOne("e"));

  EXPECT_TRUE(Has("a"));
  EXPECT_TRUE(Has("b"));
  EXPECT_FALSE(Has("c"));
  EXPECT_FALSE(Has("d"));
  EXPECT_TRUE(Has("e"));
  EXPECT_EQ(store_->stats().evicted_contexts, 2U);
}

TEST_F(QuotaStoreTest, EvictsNoneButThoseWithTheLabel) {
  Open({.high_water_bytes = 2 * kMegabyte, .evicts = true, .evict_label = {"tier", "cache"}});
  ASSERT_OK(ImportOne("a"));
  ASSERT_OK(ImportOne("b", {{"tier", "cache"}}));

  ASSERT_OK(ImportOne("c", {{"tier", "other"}}));
  const Status refused = ImportOne("d");

  EXPECT_TRUE(Has("a"));
  EXPECT_FALSE(Has("b"));
  EXPECT_TRUE(Has("c"));
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace alaya
