#include "storage/cache/frame_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <list>
#include <map>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace alaya {
namespace {

using std::chrono::milliseconds;

constexpr size_t kPerChunk = FramePool::kSmallFramesPerChunk;

// A pool and the pages in it, as the page cache would keep them.
class PoolFixture {
 public:
  explicit PoolFixture(size_t chunks)
      : pool_(FramePool::Create(chunks * kPagePayloadBytesMax, milliseconds(0),
                                [this](PageFrame* frame) { return Unpublish(frame); })
                  .value()) {}

  // Reads a page: loads it if it is not there. False if there is no room for it.
  bool Read(const PageId& id, FrameSize size = FrameSize::kSmall, PageUse use = PageUse::kRepeated,
            std::string_view owner = {}) {
    if (const auto found = frames_.find(Key(id)); found != frames_.end()) {
      pool_->RecordUse(found->second);
      return true;
    }
    PageFrame* frame = pool_->TryTake(id, size, use, owner);
    if (frame == nullptr) return false;
    frames_[Key(id)] = frame;
    return true;
  }
  bool Holds(const PageId& id) const { return frames_.contains(Key(id)); }
  void Pin(const PageId& id) { pinned_.insert(frames_.at(Key(id))); }
  void Unpin(const PageId& id) { pinned_.erase(frames_.at(Key(id))); }
  void Drop(const PageId& id) {
    pool_->Free(frames_.at(Key(id)));
    frames_.erase(Key(id));
  }
  FramePool& pool() { return *pool_; }
  uint64_t BytesOf(const std::string& owner) const {
    for (const OwnerBytes& each : pool_->owner_bytes()) {
      if (each.owner == owner) return each.bytes;
    }
    return 0;
  }
  PageFrame* frame(const PageId& id) const { return frames_.at(Key(id)); }
  size_t page_count() const { return frames_.size(); }

  // No byte belongs to two pages, and none lies outside of the budget.
  void ExpectApart() const {
    std::map<const std::byte*, size_t> ranges;
    uint64_t bytes = 0;
    for (const auto& [key, frame] : frames_) {
      const size_t size = FramePool::BytesOf(pool_->SizeOf(frame));
      EXPECT_TRUE(ranges.emplace(frame->data, size).second);
      bytes += size;
    }
    EXPECT_LE(bytes, pool_->capacity_bytes());
    const std::byte* end = nullptr;
    for (const auto& [begin, size] : ranges) {
      EXPECT_GE(begin, end);
      end = begin + size;
    }
    if (!ranges.empty()) {
      EXPECT_LE(static_cast<size_t>(end - ranges.begin()->first), pool_->capacity_bytes());
    }
  }

 private:
  using PageKey = std::tuple<uint64_t, uint32_t, uint8_t>;
  static PageKey Key(const PageId& id) {
    return {ToInt(id.segment), id.page_index, static_cast<uint8_t>(id.kind)};
  }
  bool Unpublish(PageFrame* frame) {
    if (pinned_.contains(frame)) return false;
    return frames_.erase(Key(frame->id)) == 1;
  }

  std::map<PageKey, PageFrame*> frames_;
  std::set<PageFrame*> pinned_;
  std::unique_ptr<FramePool> pool_;
};

PageId Page(uint32_t page_index, uint64_t segment = 1) {
  return {.segment = SegmentId{segment}, .page_index = page_index};
}

PageId IndexPage(uint32_t page_index) {
  return {.segment = SegmentId{9}, .page_index = page_index, .kind = IndexPageKind(2)};
}

TEST(FramePoolTest, ABudgetBelowOneFrameIsRefused) {
  const auto refused =
      FramePool::Create(kPagePayloadBytesMax - 1, milliseconds(0), [](PageFrame*) { return true; });

  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
}

// Of this process, in bytes.
size_t ResidentBytes() {
  size_t total_pages = 0;
  size_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST(FramePoolTest, HalfOfASmallBudgetIsMadeReadyAheadOfUse) {
  constexpr size_t kBudgetBytes = size_t{64} << 20;
  const size_t before = ResidentBytes();
  const auto pool =
      FramePool::Create(kBudgetBytes, milliseconds(0), [](PageFrame*) { return true; });
  ASSERT_TRUE(pool.ok());

  const auto grown = [&] { return ResidentBytes() - before; };
  for (int i = 0; i < 10'000 && grown() < kBudgetBytes * 2 / 5; ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_GE(grown(), kBudgetBytes * 2 / 5);
  EXPECT_LE(grown(), kBudgetBytes * 3 / 4);
}

TEST(FramePoolTest, PagesReadOnceLeaveInTheOrderInWhichTheyCame) {
  constexpr size_t kChunks = 64;
  constexpr size_t kPages = kChunks * kPerChunk;
  // Uses within an epoch are not told apart.
  constexpr size_t kEpochPages = kPages / 64;
  PoolFixture pool(kChunks);
  std::list<uint32_t> oracle;

  for (uint32_t i = 0; i < 5 * kPages; ++i) {
    ASSERT_TRUE(pool.Read(Page(i)));
    oracle.push_back(i);
    if (oracle.size() > kPages) oracle.pop_front();
  }

  EXPECT_EQ(pool.page_count(), kPages);
  size_t resident = 0;
  for (const uint32_t i : oracle) resident += pool.Holds(Page(i)) ? 1U : 0U;
  EXPECT_GE(resident, kPages - kEpochPages);
}

TEST(FramePoolTest, PagesThatComeBackStayThroughAScan) {
  constexpr uint32_t kPages = 64 * kPerChunk;
  PoolFixture pool(64);
  uint32_t scanned = 0;
  const auto scan = [&](uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) ASSERT_TRUE(pool.Read(Page(scanned++, /*segment=*/2)));
  };
  for (int round = 0; round < 4; ++round) {
    for (uint32_t i = 0; i < kPages / 8; ++i) ASSERT_TRUE(pool.Read(Page(i)));
    scan(kPages / 4);
  }

  scan(kPages);  // everything that was used once leaves

  uint32_t resident = 0;
  for (uint32_t i = 0; i < kPages / 8; ++i) resident += pool.Holds(Page(i)) ? 1U : 0U;
  EXPECT_EQ(resident, kPages / 8);
  scan(3 * kPages);  // nor do they stay for ever
  for (uint32_t i = 0; i < kPages / 8; ++i) EXPECT_FALSE(pool.Holds(Page(i)));
}

TEST(FramePoolTest, UsesThatFollowEachOtherCountAsOne) {
  PoolFixture pool(64);
  ASSERT_TRUE(pool.Read(Page(0)));
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(pool.Read(Page(0)));

  EXPECT_EQ(pool.frame(Page(0))->use_count.load(), 1);

  for (uint32_t i = 0; i < 8 * kPerChunk; ++i) ASSERT_TRUE(pool.Read(Page(i, /*segment=*/2)));
  ASSERT_TRUE(pool.Read(Page(0)));
  EXPECT_EQ(pool.frame(Page(0))->use_count.load(), 2);
}

TEST(FramePoolTest, APageThatWasEvictedIsRemembered) {
  constexpr uint32_t kPages = 16 * kPerChunk;
  PoolFixture pool(16);
  ASSERT_TRUE(pool.Read(Page(0)));
  for (uint32_t i = 0; i < 2 * kPages; ++i) ASSERT_TRUE(pool.Read(Page(i, /*segment=*/2)));
  ASSERT_FALSE(pool.Holds(Page(0)));

  ASSERT_TRUE(pool.Read(Page(0)));

  EXPECT_EQ(pool.frame(Page(0))->use_count.load(), 2);
}

TEST(FramePoolTest, MostPagesAreRememberedForSeveralTurnovers) {
  constexpr uint32_t kPages = 64 * kPerChunk;
  constexpr uint32_t kWatched = kPages / 2;
  PoolFixture pool(64);
  for (uint32_t i = 0; i < kWatched; ++i) ASSERT_TRUE(pool.Read(Page(i)));
  for (uint32_t i = 0; i < 4 * kPages; ++i) ASSERT_TRUE(pool.Read(Page(i, /*segment=*/2)));

  uint32_t remembered = 0;
  for (uint32_t i = 0; i < kWatched; ++i) {
    ASSERT_FALSE(pool.Holds(Page(i)));
    ASSERT_TRUE(pool.Read(Page(i)));
    remembered += pool.frame(Page(i))->use_count.load() == 2 ? 1U : 0U;
  }

  EXPECT_GE(remembered, kWatched * 3 / 4);
}

TEST(FramePoolTest, PagesOfIndexesStayATurnoverLonger) {
  constexpr uint32_t kPages = 64 * kPerChunk;
  PoolFixture pool(64);
  for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(pool.Read(IndexPage(i), FrameSize::kLarge));

  for (uint32_t i = 0; i < kPages * 3 / 2; ++i) ASSERT_TRUE(pool.Read(Page(i)));
  for (uint32_t i = 0; i < 8; ++i) EXPECT_TRUE(pool.Holds(IndexPage(i))) << i;
  for (uint32_t i = 0; i < kPages; ++i) ASSERT_TRUE(pool.Read(Page(i, /*segment=*/2)));

  for (uint32_t i = 0; i < 8; ++i) EXPECT_FALSE(pool.Holds(IndexPage(i))) << i;
}

TEST(FramePoolTest, PagesReadOnceForGoodLeaveFirst) {
  constexpr uint32_t kPages = 16 * kPerChunk;
  PoolFixture pool(16);
  for (uint32_t i = 0; i < kPages / 2; ++i) ASSERT_TRUE(pool.Read(Page(i)));

  for (uint32_t i = 0; i < 10 * kPages; ++i) {
    ASSERT_TRUE(pool.Read(Page(i, /*segment=*/2), FrameSize::kSmall, PageUse::kOnce));
  }

  for (uint32_t i = 0; i < kPages / 2; ++i) EXPECT_TRUE(pool.Holds(Page(i))) << i;
}

TEST(FramePoolTest, WithoutAnUnpinnedPageThereIsNoFrame) {
  PoolFixture pool(2);
  for (uint32_t i = 0; i < 2 * kPerChunk; ++i) {
    ASSERT_TRUE(pool.Read(Page(i)));
    pool.Pin(Page(i));
  }

  EXPECT_FALSE(pool.Read(Page(100)));
  EXPECT_FALSE(pool.Read(IndexPage(0), FrameSize::kLarge));
  pool.Unpin(Page(1));
  // One small frame is no large one, but it is a small one.
  EXPECT_FALSE(pool.Read(IndexPage(0), FrameSize::kLarge));
  EXPECT_TRUE(pool.Read(Page(100)));
}

TEST(FramePoolTest, PagesOfBothSizesNeverMeetAndPinnedOnesStay) {
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  PoolFixture pool(12);
  std::vector<std::pair<PageId, PageFrame*>> pinned;
  for (int step = 0; step < 20'000; ++step) {
    const bool is_index = random() % 4 == 0;
    const auto number = static_cast<uint32_t>(random() % 200);
    const PageId id = is_index ? IndexPage(number) : Page(number, 1 + random() % 2);
    const FrameSize size = is_index ? FrameSize::kLarge : FrameSize::kSmall;
    if (!pool.Read(id, size)) continue;
    ASSERT_EQ(pool.frame(id)->id, id);
    const bool is_pinned =
        std::ranges::any_of(pinned, [&](const auto& page) { return page.first == id; });
    if (random() % 8 == 0 && !is_pinned) {
      pool.Pin(id);
      pinned.emplace_back(id, pool.frame(id));
    } else if (random() % 16 == 0 && !is_pinned) {
      pool.Drop(id);
    }
    while (pinned.size() > random() % 12) {
      const size_t i = random() % pinned.size();
      ASSERT_TRUE(pool.Holds(pinned[i].first));
      ASSERT_EQ(pool.frame(pinned[i].first), pinned[i].second);
      pool.Unpin(pinned[i].first);
      pinned.erase(pinned.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (step % 100 == 0) pool.ExpectApart();
  }
}

TEST(FramePoolTest, PagesOfBothSizesNeverMeetWhileTheCapacityChanges) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  constexpr size_t kChunks = 3 * 32;
  PoolFixture pool(kChunks);
  for (int step = 0; step < 40'000; ++step) {
    const bool is_index = random() % 4 == 0;
    const auto number = static_cast<uint32_t>(random() % 600);
    const PageId id = is_index ? IndexPage(number) : Page(number, 1 + random() % 2);
    ASSERT_TRUE(pool.Read(id, is_index ? FrameSize::kLarge : FrameSize::kSmall));
    if (random() % 16 == 0) pool.Drop(id);
    if (random() % 100 == 0)
      pool.pool().SetCapacity(random() % (kChunks * kPagePayloadBytesMax + 1));
    if (step % 100 == 0) pool.ExpectApart();
  }
}

// Capacities are whole huge pages, of 32 chunks each.
constexpr size_t kHugePageBytes = 32 * kPagePayloadBytesMax;

TEST(FramePoolTest, PagesBeyondALowerCapacityLeaveAndComeBackWhenItRises) {
  constexpr size_t kChunks = 4 * 32 + 5;
  PoolFixture pool(kChunks);
  const auto fill = [&](uint64_t segment) {
    for (uint32_t i = 0; i < 2 * kChunks * kPerChunk; ++i) ASSERT_TRUE(pool.Read(Page(i, segment)));
  };
  fill(1);
  ASSERT_EQ(pool.page_count(), kChunks * kPerChunk);

  pool.pool().SetCapacity(2 * kHugePageBytes + 12345);

  EXPECT_EQ(pool.pool().capacity_bytes(), 2 * kHugePageBytes);
  EXPECT_EQ(pool.page_count(), 64 * kPerChunk);
  fill(2);
  EXPECT_EQ(pool.page_count(), 64 * kPerChunk);
  pool.ExpectApart();

  pool.pool().SetCapacity(UINT64_MAX);

  EXPECT_EQ(pool.pool().capacity_bytes(), kChunks * kPagePayloadBytesMax);
  fill(3);
  EXPECT_EQ(pool.page_count(), kChunks * kPerChunk);
  pool.ExpectApart();
}

TEST(FramePoolTest, OneHugePageIsAlwaysLeft) {
  PoolFixture pool(/*chunks=*/64);

  pool.pool().SetCapacity(0);

  EXPECT_EQ(pool.pool().capacity_bytes(), kHugePageBytes);
  EXPECT_TRUE(pool.Read(IndexPage(0), FrameSize::kLarge));
}

TEST(FramePoolTest, MemoryBeyondTheCapacityGoesBackToTheSystem) {
  constexpr size_t kChunks = 32 * 32;  // 64 MiB
  PoolFixture pool(kChunks);
  for (uint32_t i = 0; i < kChunks; ++i) {
    ASSERT_TRUE(pool.Read(IndexPage(i), FrameSize::kLarge));
    std::fill_n(pool.frame(IndexPage(i))->data, kPagePayloadBytesMax, std::byte{1});
  }
  const size_t before = ResidentBytes();

  pool.pool().SetCapacity(kChunks * kPagePayloadBytesMax / 2);

  const size_t expected = before - (size_t{28} << 20);  // of 32 MiB
  for (int i = 0; i < 10'000 && ResidentBytes() > expected; ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_LE(ResidentBytes(), expected);
  for (const std::byte byte : std::span(pool.frame(IndexPage(0))->data, 100)) {
    ASSERT_EQ(byte, std::byte{1}) << "what is left is what it was";
  }
}

TEST(FramePoolTest, PinnedPagesBeyondTheCapacityStayUntilALaterCall) {
  constexpr size_t kChunks = 64;
  PoolFixture pool(kChunks);
  for (uint32_t i = 0; i < kChunks * kPerChunk; ++i) {
    ASSERT_TRUE(pool.Read(Page(i)));
    pool.Pin(Page(i));
  }

  pool.pool().SetCapacity(kHugePageBytes);
  EXPECT_EQ(pool.page_count(), kChunks * kPerChunk);
  EXPECT_FALSE(pool.Read(Page(0, /*segment=*/2)));

  for (uint32_t i = 0; i < kChunks * kPerChunk; ++i) pool.Unpin(Page(i));
  pool.pool().SetCapacity(kHugePageBytes);
  EXPECT_EQ(pool.page_count(), 32 * kPerChunk);
}

// Reads a small page of an owner, whose segment is its own.
bool ReadOf(PoolFixture* pool, const std::string& owner, uint32_t page_index) {
  return pool->Read(Page(page_index, 100 + owner.size()), FrameSize::kSmall, PageUse::kRepeated,
                    owner);
}

TEST(FramePoolTest, AnOwnerAtItsLimitLosesPagesOfItsOwnAndNobodyElseDoes) {
  PoolFixture pool(/*chunks=*/16);
  pool.pool().SetLimits({.named = {{"busy", 8 * FramePool::kSmallFrameBytes}}});
  for (uint32_t i = 0; i < 10; ++i) ASSERT_TRUE(ReadOf(&pool, "calm", i));

  for (uint32_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(ReadOf(&pool, "busy", i));
    ASSERT_LE(pool.BytesOf("busy"), 8 * FramePool::kSmallFrameBytes);
  }

  EXPECT_EQ(pool.BytesOf("busy"), 8 * FramePool::kSmallFrameBytes) << "it uses what it may";
  EXPECT_EQ(pool.BytesOf("calm"), 10 * FramePool::kSmallFrameBytes);
  EXPECT_TRUE(pool.Holds(Page(999, 104)));
  pool.ExpectApart();
}

TEST(FramePoolTest, PagesOfTokensLeaveNearlyAllOfTheBudgetToOthers) {
  PoolFixture pool(/*chunks=*/1024);  // 64 MiB, of which they may have 2
  const size_t tokens_max = 1024 * kPerChunk / FramePool::kTokenPagesShare;
  pool.pool().SetLimits({.others = 16 * FramePool::kSmallFrameBytes});
  for (uint32_t i = 0; i < 1000; ++i) {
    const PageId id{.segment = SegmentId{7}, .page_index = i, .kind = PageKind::kToken};
    ASSERT_TRUE(pool.Read(id, FrameSize::kSmall, PageUse::kRepeated, "a"));
    ASSERT_EQ(pool.page_count(), std::min<size_t>(i + 1, tokens_max));
  }

  // Beside them an owner has all that it may have.
  for (uint32_t i = 0; i < 100; ++i) ASSERT_TRUE(ReadOf(&pool, "a", i));
  EXPECT_EQ(pool.BytesOf("a"), 16 * FramePool::kSmallFrameBytes);
  EXPECT_EQ(pool.page_count(), tokens_max + 16);
}

TEST(FramePoolTest, LargeAndSmallPagesCountTowardsTheSameLimit) {
  PoolFixture pool(/*chunks=*/16);
  pool.pool().SetLimits({.others = 2 * kPagePayloadBytesMax});
  for (uint32_t i = 0; i < 50; ++i) {
    const bool is_large = i % 3 == 0;
    ASSERT_TRUE(pool.Read(is_large ? IndexPage(i) : Page(i),
                          is_large ? FrameSize::kLarge : FrameSize::kSmall, PageUse::kRepeated,
                          "a"));
    ASSERT_LE(pool.BytesOf("a"), 2 * kPagePayloadBytesMax);
    pool.ExpectApart();
  }
}

TEST(FramePoolTest, WhoseFramesAreAllPinnedGetsNoMoreThanItMay) {
  PoolFixture pool(/*chunks=*/16);
  pool.pool().SetLimits({.others = 2 * FramePool::kSmallFrameBytes});
  for (uint32_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(ReadOf(&pool, "a", i));
    pool.Pin(Page(i, 101));
  }

  EXPECT_FALSE(ReadOf(&pool, "a", 2));
  const auto refused =
      pool.pool().Take(Page(2, 101), FrameSize::kSmall, PageUse::kRepeated, "a").status();
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(Message(refused).find("'a'"), std::string_view::npos) << refused;
  EXPECT_TRUE(ReadOf(&pool, "bb", 2)) << "others have room";

  pool.Unpin(Page(0, 101));
  EXPECT_TRUE(ReadOf(&pool, "a", 2));
  EXPECT_TRUE(pool.Holds(Page(1, 101)));
}

TEST(FramePoolTest, ALoweredLimitIsReachedByAndByAndALiftedOneAtOnce) {
  PoolFixture pool(/*chunks=*/64);
  for (uint32_t i = 0; i < 200; ++i) ASSERT_TRUE(ReadOf(&pool, "a", i));

  pool.pool().SetLimits({.others = 4 * FramePool::kSmallFrameBytes});
  for (uint32_t i = 200; i < 210; ++i) ASSERT_TRUE(ReadOf(&pool, "a", i));
  EXPECT_EQ(pool.BytesOf("a"), 4 * FramePool::kSmallFrameBytes);

  pool.pool().SetLimits({});
  for (uint32_t i = 300; i < 400; ++i) ASSERT_TRUE(ReadOf(&pool, "a", i));
  EXPECT_EQ(pool.BytesOf("a"), 104 * FramePool::kSmallFrameBytes);
}

// Owners without limits share the pool as if there were none: who has its page longest
// unused loses it, whoever that is.
TEST(FramePoolTest, WithoutLimitsTheOrderIsThatOfAllOwnersTogether) {
  constexpr size_t kChunks = 64;
  constexpr size_t kPages = kChunks * kPerChunk;
  PoolFixture one_owner(kChunks);
  PoolFixture three_owners(kChunks);
  std::mt19937_64 random(/*seed=*/17);
  const std::vector<std::string> owners = {"a", "bb", "ccc"};
  for (int step = 0; step < 20'000; ++step) {
    const auto page = static_cast<uint32_t>(random() % (3 * kPages));
    // Both see the same pages; only the names differ.
    ASSERT_TRUE(one_owner.Read(Page(page)));
    ASSERT_TRUE(three_owners.Read(Page(page), FrameSize::kSmall, PageUse::kRepeated,
                                  owners[page % owners.size()]));
  }
  size_t both = 0;
  for (uint32_t page = 0; page < 3 * kPages; ++page) {
    if (one_owner.Holds(Page(page)) && three_owners.Holds(Page(page))) ++both;
  }
  // Pages of equal due leave in any order.
  EXPECT_GE(both, kPages * 9 / 10);
}

TEST(FramePoolTest, PagesThatGoWithTheirSegmentsLeaveNoTraceInTheOrder) {
  PoolFixture pool(/*chunks=*/16);
  for (uint32_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(pool.Read(Page(i)));
    pool.Drop(Page(i));
  }

  EXPECT_LE(pool.pool().place_count(), 1100U);
}

}  // namespace
}  // namespace alaya
