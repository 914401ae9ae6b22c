#include "cuda/backend/part_layout.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {131072, 8, 128, DType::kBF16};

DevicePartShape With(uint64_t token_count, uint32_t head_dim, DType dtype = DType::kBF16) {
  return {token_count, 8, head_dim, dtype};
}

class PartLayoutTest : public testing::TestWithParam<DevicePartShape> {};

TEST_P(PartLayoutTest, TakesNoMoreThanItsShareAndNothingLiesTwice) {
  const DevicePartShape& shape = GetParam();
  const std::optional<PartLayout> layout = PartLayout::Of(shape);
  ASSERT_TRUE(layout.has_value());

  const uint64_t kv_bytes =
      2 * shape.token_count * shape.kv_head_count * shape.head_dim * ElementBytes(shape.dtype);
  EXPECT_LE(layout->bytes(), kv_bytes / PartLayout::kShareOfKv);

  // [begin, end) of all that a head has, in order.
  std::byte* const memory = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
  const size_t head_bytes = layout->bytes() / shape.kv_head_count;
  for (const uint32_t head : {0U, shape.kv_head_count - 1}) {
    const SparseTask task = layout->Task(memory, head);
    const size_t windows = size_t{layout->sink_tokens()} + layout->recent_tokens();
    std::vector<std::pair<const std::byte*, const std::byte*>> pieces;
    const auto* const index = reinterpret_cast<const std::byte*>(task.head.centre);
    pieces.emplace_back(index, index + FlatHeadBytes(shape.head_dim, task.head.token_count));
    pieces.emplace_back(task.windows[0].keys.data,
                        task.windows[0].keys.data + 2 * windows * layout->row_bytes());
    const auto* const cache = reinterpret_cast<const std::byte*>(task.cache.tags);
    pieces.emplace_back(cache, cache + RowCacheBytes(task.cache.set_count, shape.head_dim));
    const std::byte* end = memory + head * head_bytes;
    for (const auto& [piece_begin, piece_end] : pieces) {
      EXPECT_GE(piece_begin, end);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(piece_begin) % 16, 0U);
      end = piece_end;
    }
    EXPECT_LE(end, memory + (head + 1) * head_bytes);
    EXPECT_EQ(layout->Windows(memory, head), task.windows[0].keys.data);
    EXPECT_EQ(task.token_begin, layout->sink_tokens());
    EXPECT_EQ(task.token_end, shape.token_count - layout->recent_tokens());
    EXPECT_EQ(task.keys.data, nullptr);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PartLayoutTest,
                         testing::Values(kShape, With(20'000, 128), With(4'000'000, 128),
                                         With(100'001, 64), With(50'000, 256),
                                         With(9'999, 96, DType::kF16),
                                         With(70'000, 80, DType::kF32)));

TEST(PartLayoutTest, AUsualPartHasUsualWindowsAndACacheOfAPercent) {
  const std::optional<PartLayout> layout = PartLayout::Of(kShape);
  ASSERT_TRUE(layout.has_value());

  EXPECT_EQ(layout->sink_tokens(), 128U);
  EXPECT_EQ(layout->recent_tokens(), 512U);
  EXPECT_GT(layout->cache_sets() * kCacheWays, 2600U);
}

TEST(PartLayoutTest, ShapesThatADeviceCannotTakeAreRefused) {
  for (const DevicePartShape& shape :
       {With(0, 128), With(100'000, 12), With(100'000, 264), With(1 << 24, 128),
        With(4095, 128),       // short
        With(100'000, 80)}) {  // codes of 96 elements: more than an eighth
    EXPECT_FALSE(PartLayout::Of(shape).has_value()) << shape.token_count << " " << shape.head_dim;
  }
}

TEST(PartLayoutTest, ShortPartsMayLieThereWhole) {
  std::vector<std::byte> memory(1 << 20);
  const PartLayout layout = *PartLayout::WholeOf({700, 2, 64, DType::kF32});

  const SparseTask task = layout.Task(memory.data(), 1);

  EXPECT_EQ(layout.bytes(), 2U * 2 * 700 * 256);
  EXPECT_EQ(task.head.token_count, 0U);
  EXPECT_EQ(task.windows[0].token_count, 700U);
  EXPECT_EQ(task.windows[0].keys.data, memory.data() + layout.head_bytes());
  EXPECT_EQ(task.windows[0].values.data, memory.data() + layout.head_bytes() + 700 * 256);
  EXPECT_EQ(task.windows[1].token_count, 0U);
  EXPECT_FALSE(PartLayout::WholeOf({PartLayout::kWholeTokensMin - 1, 2, 64, DType::kF32}));
  EXPECT_FALSE(PartLayout::WholeOf({PartLayout::kWholeTokensMax + 1, 2, 64, DType::kF32}));
  EXPECT_FALSE(PartLayout::WholeOf({700, 2, 60, DType::kF32}));
}

TEST(PartLayoutTest, ACoarseIndexTakesAHundredthOfAPart) {
  const PartLayout layout = *PartLayout::CoarseOf({6001, 2, 128, DType::kBF16});

  EXPECT_EQ(layout.stretch_count(), 94U);
  EXPECT_EQ(layout.bytes(), 2U * 94 * 256);
  EXPECT_FALSE(PartLayout::CoarseOf({600, 2, 128, DType::kBF16}));
}

}  // namespace
}  // namespace alaya
