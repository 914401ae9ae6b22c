#include "index/coarse/stretch_bounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "tests/index/array_kv_reader.h"
#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 24;

double Score(const ArrayKvReader& reader, std::span<const float> query, size_t token) {
  double sum = 0;
  for (size_t e = 0; e < query.size(); ++e) {
    sum += double{query[e]} * double{reader.key(token)[e]};
  }
  return sum;
}

// Keys that try to break the bounds.
struct KeyCase {
  const char* name;
  std::function<float(size_t token, size_t channel, float normal)> element;
  DType dtype = DType::kBF16;
};

class StretchBoundsTest : public testing::TestWithParam<KeyCase> {};

TEST_P(StretchBoundsTest, NoScoreIsAboveItsBound) {
  constexpr size_t kTokens = 500;
  std::vector<float> keys = RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/1);
  for (size_t i = 0; i < keys.size(); ++i) {
    keys[i] = GetParam().element(i / kHeadDim, i % kHeadDim, keys[i]);
  }
  const ArrayKvReader reader(keys, keys, kHeadDim, GetParam().dtype, /*block_tokens=*/40);
  for (const size_t stretch_tokens : std::vector<size_t>{1, 7, 64, 4096}) {
    DamageableIndexBlocks blocks;
    CoarseBuildOptions options;
    options.stretch_tokens = stretch_tokens;
    ASSERT_TRUE(BuildStretchBounds(reader, options, blocks.Sink()).ok());
    const auto header = ReadStretchHeader(blocks);
    ASSERT_TRUE(header.ok()) << header.status();
    std::vector<float> bounds(header->stretch_count());
    for (uint32_t seed = 0; seed < 20; ++seed) {
      // Small and large queries, some channels off.
      std::vector<float> query =
          RandomFloats(kHeadDim, seed % 3 == 0 ? 1e-4F : 30.0F, /*seed=*/100 + seed);
      for (size_t e = seed; e < kHeadDim; e += 5) query[e] = 0;

      ASSERT_TRUE(StretchQuery(&*header, query).UpperBounds(blocks, 0, bounds).ok());

      for (size_t t = 0; t < kTokens; ++t) {
        // Kernels saturate at float's limits.
        const double score =
            std::min(Score(reader, query, t), double{std::numeric_limits<float>::max()});
        ASSERT_GE(double{bounds[t / stretch_tokens]}, score)
            << "token " << t << ", stretches of " << stretch_tokens << ", seed " << seed;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Keys, StretchBoundsTest,
    testing::Values(
        KeyCase{"Normal", [](size_t, size_t, float x) { return x; }},
        KeyCase{"OutlierChannels",
                [](size_t, size_t c, float x) { return c % 9 == 0 ? 40 * x : x; }},
        KeyCase{"OneHugeToken",
                [](size_t token, size_t, float x) { return token == 77 ? 1e6F * x : x; }},
        KeyCase{"FarFromTheOrigin", [](size_t, size_t, float x) { return 1000 + x; }, DType::kF32},
        KeyCase{"AllEqual", [](size_t, size_t c, float) { return static_cast<float>(c) / 7; },
                DType::kF32},
        KeyCase{"Zeros", [](size_t, size_t, float) { return 0.0F; }},
        KeyCase{"Subnormal", [](size_t, size_t, float x) { return x * 1e-39F; }, DType::kF32},
        KeyCase{"Largest",
                [](size_t, size_t, float x) {
                  return x > 0 ? std::numeric_limits<float>::max()
                               : std::numeric_limits<float>::lowest();
                },
                DType::kF32},
        KeyCase{"Half", [](size_t, size_t, float x) { return x * 100; }, DType::kF16}),
    [](const auto& c) { return c.param.name; });

TEST(StretchBoundsBuildTest, ABoundIsNotMuchHigherThanTheBestOfItsChannels) {
  constexpr size_t kTokens = 640;
  const std::vector<float> keys = RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/1);
  const ArrayKvReader reader(keys, keys, kHeadDim, DType::kF32, /*block_tokens=*/64);
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(BuildStretchBounds(reader, {}, blocks.Sink()).ok());
  const auto header = ReadStretchHeader(blocks);
  ASSERT_TRUE(header.ok());
  const std::vector<float> query = RandomFloats(kHeadDim, 1.0F, /*seed=*/2);
  std::vector<float> bounds(header->stretch_count());

  ASSERT_TRUE(StretchQuery(&*header, query).UpperBounds(blocks, 0, bounds).ok());

  for (size_t s = 0; s < bounds.size(); ++s) {
    double exact = 0;
    double rounding = 0;
    for (size_t c = 0; c < kHeadDim; ++c) {
      double best = -std::numeric_limits<double>::infinity();
      for (size_t t = s * 64; t < (s + 1) * 64; ++t) {
        best = std::max(best, double{query[c]} * double{reader.key(t)[c]});
      }
      exact += best;
      rounding += std::fabs(double{query[c]}) * double{header->step[c]};
    }
    EXPECT_LE(double{bounds[s]}, exact + rounding + 1e-2);
  }
}

TEST(StretchBoundsBuildTest, AnyRangeOfBoundsCanBeRead) {
  // Rows of 2048 bytes: 32 stretches per block.
  constexpr size_t kWide = 1024;
  constexpr size_t kTokens = 100;
  const std::vector<float> keys = RandomFloats(kTokens * kWide, 1.0F, /*seed=*/1);
  const ArrayKvReader reader(keys, keys, kWide, DType::kBF16, /*block_tokens=*/16);
  DamageableIndexBlocks blocks;
  CoarseBuildOptions options;
  options.stretch_tokens = 1;
  ASSERT_TRUE(BuildStretchBounds(reader, options, blocks.Sink()).ok());
  EXPECT_EQ(blocks.block_count(), 1 + 4);
  const auto header = ReadStretchHeader(blocks);
  ASSERT_TRUE(header.ok());
  const StretchQuery query(&*header, RandomFloats(kWide, 1.0F, /*seed=*/2));
  std::vector<float> all(kTokens);
  std::vector<float> some(50);

  ASSERT_TRUE(query.UpperBounds(blocks, 0, all).ok());
  ASSERT_TRUE(query.UpperBounds(blocks, 30, some).ok());

  EXPECT_EQ(some, std::vector<float>(all.begin() + 30, all.begin() + 80));
}

TEST(StretchBoundsBuildTest, RefusesOptionsOutsideTheirLimits) {
  const ArrayKvReader reader({}, {}, kHeadDim, DType::kBF16, /*block_tokens=*/16);
  for (const size_t stretch_tokens : std::vector<size_t>{0, 4097}) {
    DamageableIndexBlocks blocks;
    CoarseBuildOptions options;
    options.stretch_tokens = stretch_tokens;
    EXPECT_EQ(BuildStretchBounds(reader, options, blocks.Sink()).code(),
              StatusCode::kInvalidArgument);
  }
}

class SmallBoundsTest : public testing::Test {
 protected:
  const std::vector<float> keys_ = RandomFloats(300 * kHeadDim, 1.0F, /*seed=*/1);
  ArrayKvReader reader_{keys_, keys_, kHeadDim, DType::kBF16, /*block_tokens=*/16};
  DamageableIndexBlocks blocks_;
};

TEST_F(SmallBoundsTest, StopsWhenAsked) {
  CoarseBuildOptions options;
  options.should_stop = [] { return true; };

  EXPECT_EQ(BuildStretchBounds(reader_, options, blocks_.Sink()).code(), StatusCode::kCancelled);
}

TEST_F(SmallBoundsTest, ErrorsOfReaderAndSinkPassThrough) {
  const auto full = [](std::span<const std::byte>) { return ResourceExhausted("disk full"); };
  EXPECT_EQ(BuildStretchBounds(reader_, {}, full).code(), StatusCode::kResourceExhausted);
  reader_.FailAt(KvKind::kKey, 3);
  EXPECT_EQ(BuildStretchBounds(reader_, {}, blocks_.Sink()).code(), StatusCode::kDataLoss);
}

class StretchBoundsDamageTest : public testing::TestWithParam<Damage> {};

TEST_P(StretchBoundsDamageTest, GivesDataLoss) {
  const std::vector<float> keys = RandomFloats(300 * kHeadDim, 1.0F, /*seed=*/1);
  const ArrayKvReader reader(keys, keys, kHeadDim, DType::kBF16, /*block_tokens=*/16);
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(BuildStretchBounds(reader, {}, blocks.Sink()).ok());

  GetParam().apply(blocks);

  const auto header = ReadStretchHeader(blocks);
  Status status = header.status();
  if (header.ok()) {
    std::vector<float> bounds(header->stretch_count());
    status =
        StretchQuery(&*header, std::vector<float>(kHeadDim, 1.0F)).UpperBounds(blocks, 0, bounds);
  }
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Fields, StretchBoundsDamageTest,
    testing::Values(
        Damage{"Magic", [](auto& b) { Write<uint8_t>(b, 0, 0, 0); }},
        Damage{"Version", [](auto& b) { Write<uint16_t>(b, 0, 4, 2); }},
        Damage{"Reserved", [](auto& b) { Write<uint16_t>(b, 0, 6, 1); }},
        Damage{"ReservedToo", [](auto& b) { Write<uint32_t>(b, 0, 20, 1); }},
        Damage{"MoreTokens", [](auto& b) { Write<uint32_t>(b, 0, 8, 1U << 30); }},
        Damage{"TooManyTokens", [](auto& b) { Write<uint32_t>(b, 0, 8, ~0U); }},
        Damage{"NoElements", [](auto& b) { Write<uint32_t>(b, 0, 12, 0); }},
        Damage{"OddElements", [](auto& b) { Write<uint32_t>(b, 0, 12, 25); }},
        Damage{"FewerElements", [](auto& b) { Write<uint32_t>(b, 0, 12, 16); }},
        Damage{"TooManyElements", [](auto& b) { Write<uint32_t>(b, 0, 12, ~7U); }},
        Damage{"NoStretchTokens", [](auto& b) { Write<uint32_t>(b, 0, 16, 0); }},
        Damage{"TooManyStretchTokens", [](auto& b) { Write<uint32_t>(b, 0, 16, 5000); }},
        Damage{"ShorterStretches", [](auto& b) { Write<uint32_t>(b, 0, 16, 8); }},
        Damage{"LowestIsNoNumber", [](auto& b) { Write<float>(b, 0, 24, kNan); }},
        Damage{"StepIsNoNumber", [](auto& b) { Write<float>(b, 0, 24 + 4 * kHeadDim, kNan); }},
        Damage{"NegativeStep", [](auto& b) { Write<float>(b, 0, 24 + 4 * kHeadDim, -1); }},
        Damage{"ShortHeader", [](auto& b) { b.Shorten(0, 23); }},
        Damage{"MissingSteps", [](auto& b) { b.Shorten(0, 24 + 4 * kHeadDim); }},
        Damage{"MissingBlock", [](auto& b) { b.DropLast(); }},
        Damage{"ShortBlock", [](auto& b) { b.Shorten(1, b.bytes(1).size() - 1); }},
        Damage{"ReadFails", [](auto& b) { b.FailAt(1); }}),
    [](const auto& damage) { return damage.param.name; });

}  // namespace
}  // namespace alaya
