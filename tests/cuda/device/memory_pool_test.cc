#include "cuda/device/memory_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace alaya {
namespace {

constexpr uint64_t kUnit = MemoryPool::kAlignment;

TEST(MemoryPoolTest, GivesPartsUpToItsBudgetAndNotAByteMore) {
  MemoryPool pool(4 * kUnit + 100);

  const auto first = pool.Allocate(3 * kUnit);
  const auto too_much = pool.Allocate(kUnit + 1);
  const auto second = pool.Allocate(1);

  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->offset(), 3 * kUnit);
  EXPECT_EQ(second->bytes(), kUnit);
  EXPECT_EQ(too_much.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(too_much.status())),
              testing::AllOf(testing::HasSubstr("257 bytes wanted"),
                             testing::HasSubstr("256 of 1024 free")));
  EXPECT_FALSE(pool.Allocate(1).ok());
}

TEST(MemoryPoolTest, RefusesSizesThatRoundingWouldOverflow) {
  MemoryPool pool(kUnit);

  EXPECT_EQ(pool.Allocate(UINT64_MAX).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(pool.Allocate(0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(MemoryPool(0).Allocate(1).status().code(), StatusCode::kResourceExhausted);
}

TEST(MemoryPoolTest, NeighboursThatAreGivenBackBecomeOne) {
  MemoryPool pool(3 * kUnit);
  std::vector<PoolBlock> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(*pool.Allocate(kUnit));

  blocks[0].Reset();
  blocks[2].Reset();
  EXPECT_EQ(pool.stats().largest_free_bytes, kUnit);
  EXPECT_FALSE(pool.Allocate(2 * kUnit).ok());
  blocks[1].Reset();

  EXPECT_EQ(pool.stats().largest_free_bytes, 3 * kUnit);
  EXPECT_TRUE(pool.Allocate(3 * kUnit).ok());
}

TEST(MemoryPoolTest, TakesTheSmallestPieceThatIsLargeEnough) {
  MemoryPool pool(10 * kUnit);
  PoolBlock large = *pool.Allocate(5 * kUnit);
  const PoolBlock between = *pool.Allocate(kUnit);
  PoolBlock small = *pool.Allocate(2 * kUnit);
  const PoolBlock last = *pool.Allocate(2 * kUnit);
  large.Reset();
  const uint64_t small_offset = small.offset();
  small.Reset();

  EXPECT_EQ(pool.Allocate(2 * kUnit)->offset(), small_offset);
}

TEST(MemoryPoolTest, AMovedBlockIsGivenBackOnce) {
  MemoryPool pool(2 * kUnit);
  PoolBlock first = *pool.Allocate(kUnit);
  PoolBlock second = std::move(first);
  first = *pool.Allocate(kUnit);

  second = std::move(first);

  EXPECT_EQ(pool.stats().used_bytes, kUnit);
  second.Reset();
  EXPECT_EQ(pool.stats().used_bytes, 0U);
}

TEST(MemoryPoolTest, BlocksNeverOverlapWhateverTheOrder) {
  constexpr uint64_t kBudget = 1 << 16;
  MemoryPool pool(kBudget);
  std::mt19937 random(1);
  std::vector<PoolBlock> blocks;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0 && !blocks.empty()) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      blocks.pop_back();
    } else if (auto block = pool.Allocate(1 + random() % 5000); block.ok()) {
      blocks.push_back(*std::move(block));
    }
    std::map<uint64_t, uint64_t> sorted;
    uint64_t used = 0;
    for (const PoolBlock& block : blocks) {
      sorted.emplace(block.offset(), block.bytes());
      used += block.bytes();
    }
    uint64_t end = 0;
    for (const auto& [offset, bytes] : sorted) {
      ASSERT_GE(offset, end);
      end = offset + bytes;
    }
    ASSERT_LE(end, kBudget);
    ASSERT_EQ(sorted.size(), blocks.size());
    ASSERT_EQ(pool.stats().used_bytes, used);
  }
  blocks.clear();
  EXPECT_EQ(pool.stats().largest_free_bytes, kBudget);
}

}  // namespace
}  // namespace alaya
