#include "tests/support/element_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ElementCodecTest, EveryHalfSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (std::isnan(DecodeF16(half))) continue;

    EXPECT_EQ(EncodeF16(DecodeF16(half)), half);
  }
}

TEST(ElementCodecTest, EveryBFloatSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto bfloat = static_cast<uint16_t>(bits);
    if (std::isnan(DecodeBF16(bfloat))) continue;

    EXPECT_EQ(EncodeBF16(DecodeBF16(bfloat)), bfloat);
  }
}

TEST(ElementCodecTest, KnownHalvesAreWhatTheStandardSays) {
  EXPECT_EQ(EncodeF16(1), 0x3c00);
  EXPECT_EQ(EncodeF16(-2), 0xc000);
  EXPECT_EQ(EncodeF16(65504), 0x7bff);
  EXPECT_EQ(EncodeF16(65519.996F), 0x7bff);
  EXPECT_EQ(EncodeF16(65520), 0x7c00);
  EXPECT_EQ(EncodeF16(kInfinity), 0x7c00);
  EXPECT_EQ(EncodeF16(0x1p-24F), 1);
  EXPECT_EQ(EncodeF16(0x1p-25F), 0);          // a tie: to the even zero
  EXPECT_EQ(EncodeF16(0x1.8p-24F), 2);        // a tie: to the even two
  EXPECT_EQ(EncodeF16(0x1.ffep-15F), 0x400);  // rounds up into the normal numbers
  EXPECT_EQ(EncodeF16(-0.0F), 0x8000);
  EXPECT_TRUE(std::isnan(DecodeF16(EncodeF16(std::nanf("")))));
}

TEST(ElementCodecTest, KnownBFloatsAreTheUpperHalfRoundedToEven) {
  EXPECT_EQ(EncodeBF16(1), 0x3f80);
  EXPECT_EQ(EncodeBF16(1 + 0x1p-8F), 0x3f80);      // a tie: down to even
  EXPECT_EQ(EncodeBF16(1 + 3 * 0x1p-8F), 0x3f82);  // a tie: up to even
  EXPECT_EQ(EncodeBF16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_TRUE(std::isnan(DecodeBF16(EncodeBF16(std::nanf("")))));
}

TEST(ElementCodecTest, EncodedValuesDecodeWithinHalfAStep) {
  const std::vector<float> values = {0, 1, -1.5F, 3.14159F, 1e-3F, -1234.5F};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const double step = dtype == DType::kF32 ? 0 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;

    const std::vector<float> decoded = Decode(Encode(values, dtype), dtype);
    std::vector<float> rounded = values;
    RoundTo(dtype, rounded);

    EXPECT_EQ(decoded, rounded);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(decoded[i], values[i], step * std::abs(values[i])) << Name(dtype);
    }
  }
}

}  // namespace
}  // namespace alaya
