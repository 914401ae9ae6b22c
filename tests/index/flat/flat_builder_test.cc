#include "index/flat/flat_builder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "index/kernels/bf16.h"
#include "tests/index/array_kv_reader.h"
#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 64;

ArrayKvReader Reader(size_t token_count, size_t block_tokens = 40) {
  std::vector<float> values = RandomFloats(token_count * kHeadDim, 1.0F, 2);
  for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(i % kHeadDim);
  return {RandomFloats(token_count * kHeadDim, 1.0F, 1), values, kHeadDim, DType::kF32,
          block_tokens};
}

TEST(FlatBuilderTest, SummariesAreMeansAndDeviationsOfValues) {
  const ArrayKvReader reader = Reader(3000);
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(BuildFlatIndex(reader, {}, blocks.Sink()).ok());
  const auto header = DecodeFlatHeader(blocks.ReadBlock(0)->bytes);
  ASSERT_TRUE(header.ok());
  ASSERT_EQ(header->block_count() + 1, blocks.block_count());
  for (size_t b = 0; b < header->block_count(); ++b) {
    const auto block = DecodeFlatBlock(*header, b, blocks.ReadBlock(b + 1)->bytes);
    ASSERT_TRUE(block.ok());
    for (size_t group = 0; group < block->codes.group_count; ++group) {
      const size_t first = b * header->block_tokens + group * kCodeGroupTokens;
      const size_t count = std::min(kCodeGroupTokens, size_t{3000} - first);
      double square_sum = 0;
      for (size_t e = 0; e < kHeadDim; ++e) {
        double mean = 0;
        for (size_t t = 0; t < count; ++t) mean += reader.value(first + t)[e];
        mean /= static_cast<double>(count);
        const double stored = BF16ToFloat(block->value_means[group * kHeadDim + e]);
        EXPECT_NEAR(stored, mean, 0x1p-8 * std::fabs(mean) + 1e-6);
        for (size_t t = 0; t < count; ++t) {
          square_sum += std::pow(reader.value(first + t)[e] - mean, 2);
        }
      }
      EXPECT_NEAR(block->value_deviations[group],
                  std::sqrt(square_sum / static_cast<double>(count)), 1e-4);
    }
  }
}

TEST(FlatBuilderTest, TheCentreIsTheMeanOfTheKeys) {
  const ArrayKvReader reader = Reader(1000);
  const auto header = MakeFlatHeader(reader, 1000);
  ASSERT_TRUE(header.ok());
  for (size_t e = 0; e < kHeadDim; ++e) {
    double mean = 0;
    for (size_t t = 0; t < 1000; ++t) mean += reader.key(t)[e] / 1000;
    EXPECT_NEAR(header->centre[e], mean, 1e-5);
  }
}

TEST(FlatBuilderTest, BlocksDoNotDependOnTheReadersBlocks) {
  DamageableIndexBlocks a;
  DamageableIndexBlocks b;
  // The sample for the centre is all keys in both.
  ASSERT_TRUE(BuildFlatIndex(Reader(1200, 40), {}, a.Sink()).ok());
  ASSERT_TRUE(BuildFlatIndex(Reader(1200, 1200), {}, b.Sink()).ok());
  ASSERT_EQ(a.block_count(), b.block_count());
  for (size_t i = 0; i < a.block_count(); ++i) {
    EXPECT_TRUE(std::ranges::equal(a.bytes(i), b.bytes(i))) << "block " << i;
  }
}

TEST(FlatBuilderTest, AnEmptySegmentIsAHeaderAlone) {
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(BuildFlatIndex(Reader(0), {}, blocks.Sink()).ok());
  EXPECT_EQ(blocks.block_count(), 1U);
}

TEST(FlatBuilderTest, ErrorsOfTheReaderPassThrough) {
  for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
    ArrayKvReader reader = Reader(3000);
    reader.FailAt(kind, 60);
    DamageableIndexBlocks blocks;
    EXPECT_EQ(BuildFlatIndex(reader, {}, blocks.Sink()).code(), StatusCode::kDataLoss);
    EXPECT_EQ(reader.pin_count(), 0);
  }
}

TEST(FlatBuilderTest, AnErrorOfTheSinkEndsTheBuild) {
  const ArrayKvReader reader = Reader(5000);
  size_t calls = 0;
  const IndexBlockSink sink = [&](std::span<const std::byte>) {
    return ++calls == 2 ? ResourceExhausted("no room") : OkStatus();
  };
  EXPECT_EQ(BuildFlatIndex(reader, {}, sink).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(calls, 2U);
}

TEST(FlatBuilderTest, HeadsTooLargeForABlockAreRefused) {
  const ArrayKvReader reader(std::vector<float>(4096), std::vector<float>(4096), 4096, DType::kBF16,
                             8);
  DamageableIndexBlocks blocks;
  EXPECT_EQ(BuildFlatIndex(reader, {}, blocks.Sink()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(blocks.block_count(), 0U);
}

TEST(FlatBuilderTest, SampledQueriesOfALongTextMakeAMap) {
  const std::vector<float> sample = FallingRows(1000, kHeadDim, 0.01, 3);
  const MatrixView<const float> queries(sample.data(), 1000, kHeadDim);
  for (const size_t token_count : {kMapTokensMin - 1, kMapTokensMin}) {
    const ArrayKvReader reader = Reader(token_count, 512);
    DamageableIndexBlocks blocks;
    ASSERT_TRUE(BuildFlatIndex(reader, queries, blocks.Sink()).ok());
    const auto header = DecodeFlatHeader(blocks.ReadBlock(0)->bytes);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->query_map.has_value(), token_count == kMapTokensMin);
    EXPECT_EQ(1 + header->map_block_count() + header->block_count(), blocks.block_count());
  }
}

}  // namespace
}  // namespace alaya
