#include "cuda/kernels/numbers.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cuda/kernels/query_codes.cuh"
#include "tests/support/element_codec.h"

namespace alaya {
namespace {

TEST(DeviceNumbersTest, HalvesAndBF16AreReadAsTheirDefinition) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto number = static_cast<uint16_t>(bits);
    if (!std::isnan(DecodeF16(number))) {
      ASSERT_EQ(FloatOfHalf(bits), DecodeF16(number)) << bits;
    }
    if (!std::isnan(DecodeBF16(number))) {
      ASSERT_EQ(FloatOfBF16(bits), DecodeBF16(number)) << bits;
    }
  }
}

TEST(DeviceNumbersTest, BF16IsRoundedAsItsNameSays) {
  for (const float value : {0.0F, 1.0F, 1.001F, 3.14159F, 0.33333F, 1e-20F, 6.5e30F}) {
    EXPECT_EQ(NearestBF16(value), EncodeBF16(value)) << value;
    EXPECT_EQ(NearestBF16(-value), EncodeBF16(-value)) << value;
    const float above = FloatOfBF16(BF16AtLeast(value));
    EXPECT_GE(above, value);
    EXPECT_LE(above, value * (1 + 0x1p-7F));
  }
}

TEST(DeviceNumbersTest, KeysOfTheTopOrderByScoreAndThenByTheEarlierToken) {
  const std::vector<float> rising = {-INFINITY, -3e38F, -2.0F, -1e-30F, 0.0F, 1e-30F, 7.0F, 3e38F};
  uint64_t before = 0;
  for (const float score : rising) {
    for (const uint32_t token : {4'000'000'000U, 17U, 0U}) {
      const uint64_t key = TopKey(score, token);
      EXPECT_GT(key, before);
      EXPECT_EQ(ScoreOfKey(key), score);
      EXPECT_EQ(TokenOfKey(key), token);
      before = key;
    }
  }
}

TEST(DeviceNumbersTest, ProductsOfBytesAreSigned) {
  EXPECT_EQ(AddProducts(0x01020304, 0xFF01FE7F, 10), 10 - 1 + 2 + 3 * -2 + 4 * 127);
}

TEST(DeviceNumbersTest, UnitsOfALogitStayInTheirRange) {
  EXPECT_EQ(UnitsOfLogit(0), 0);
  EXPECT_EQ(UnitsOfLogit(1.5F), 96);
  EXPECT_EQ(UnitsOfLogit(-2), -128);
  EXPECT_EQ(UnitsOfLogit(1e30F), kUnitsMax);
  EXPECT_EQ(UnitsOfLogit(-1e30F), -kUnitsMax);
  EXPECT_GT(UnitsOfLogit(-INFINITY), kUnitsOutside);
}

}  // namespace
}  // namespace alaya
