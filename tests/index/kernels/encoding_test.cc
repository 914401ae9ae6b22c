#include "index/kernels/encoding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "index/kernels/instruction_set.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

class EncodingTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(EncodingTest);

// Bytes one off any alignment.
struct Unaligned {
  explicit Unaligned(size_t count) : storage(count + 1) {}
  std::span<std::byte> span() { return std::span(storage).subspan(1); }
  std::vector<std::byte> storage;
};

void ExpectSame(float a, float b, const char* what, size_t i) {
  if (std::isnan(a) && std::isnan(b)) return;
  EXPECT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b)) << what << " element " << i;
}

TEST_P(EncodingTest, DecodesEveryHalf) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    Unaligned encoded(2 * 65536);
    for (uint32_t i = 0; i < 65536; ++i) {
      const auto bits = static_cast<uint16_t>(i);
      std::memcpy(&encoded.span()[2 * i], &bits, 2);
    }
    std::vector<float> expected(65536);
    std::vector<float> values(65536);

    DecodeElements(dtype, encoded.span(), values);

    DecodeElementsReference(dtype, encoded.span(), expected);
    for (size_t i = 0; i < values.size(); ++i) ExpectSame(values[i], expected[i], "half", i);
  }
}

TEST_P(EncodingTest, EveryHalfSurvivesDecodingAndEncoding) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (uint32_t i = 0; i < 65536; i += 64) {
      std::vector<uint16_t> halves(64);
      for (uint32_t j = 0; j < 64; ++j) halves[j] = static_cast<uint16_t>(i + j);
      std::vector<float> values(64);
      std::vector<uint16_t> again(64);

      DecodeElements(dtype, std::as_bytes(std::span(halves)), values);
      EncodeElements(values, dtype, std::as_writable_bytes(std::span(again)));

      for (size_t j = 0; j < 64; ++j) {
        if (std::isnan(values[j])) continue;
        EXPECT_EQ(halves[j], again[j]) << Name(dtype);
      }
    }
  }
}

TEST_P(EncodingTest, RoundsToNearestAndTiesToEven) {
  struct Case {
    float value;
    uint16_t f16;
    uint16_t bf16;
  };
  const float inf = std::numeric_limits<float>::infinity();
  const Case cases[] = {
      {1.0F, 0x3C00, 0x3F80},
      {-2.0F, 0xC000, 0xC000},
      {0.0F, 0x0000, 0x0000},
      {-0.0F, 0x8000, 0x8000},
      {1.0F + 0x1p-11F, 0x3C00, 0x3F80},     // a tie of f16, down to even
      {1.0F + 0x3p-11F, 0x3C02, 0x3F80},     // a tie of f16, up to even
      {1.0F + 0x1.02p-11F, 0x3C01, 0x3F80},  // just above the tie
      {1.0F + 0x1p-8F, 0x3C04, 0x3F80},      // a tie of bf16, down
      {1.0F + 0x3p-8F, 0x3C0C, 0x3F82},      // a tie of bf16, up
      {65504.0F, 0x7BFF, 0x4780},            // largest f16
      {65519.0F, 0x7BFF, 0x4780},            // rounds down to it
      {65520.0F, 0x7C00, 0x4780},            // rounds up: infinity
      {std::numeric_limits<float>::max(), 0x7C00, 0x7F80},
      {0x1p-24F, 0x0001, 0x3380},      // smallest f16
      {0x1p-25F, 0x0000, 0x3300},      // a tie with zero
      {0x1.8p-24F, 0x0002, 0x33C0},    // a tie of subnormals
      {0x1.FFCp-15F, 0x0400, 0x3880},  // carries into the normal numbers
      {inf, 0x7C00, 0x7F80},
      {-inf, 0xFC00, 0xFF80},
  };
  for (const Case& c : cases) {
    for (const bool use_f16 : {true, false}) {
      // Enough copies for whole vectors and a rest.
      const std::vector<float> values(37, c.value);
      std::vector<uint16_t> halves(37);

      EncodeElements(values, use_f16 ? DType::kF16 : DType::kBF16,
                     std::as_writable_bytes(std::span(halves)));

      for (const uint16_t half : halves) EXPECT_EQ(half, use_f16 ? c.f16 : c.bf16) << c.value;
    }
  }
}

TEST_P(EncodingTest, NanStaysNan) {
  // The last one would become infinity if its mantissa were rounded like a number's.
  for (const uint32_t bits : {0x7FC00000U, 0xFFC00000U, 0x7F800001U, 0x7FFFFFFFU}) {
    for (const DType dtype : kDTypes) {
      const std::vector<float> values(37, std::bit_cast<float>(bits));
      std::vector<std::byte> encoded(37 * ElementBytes(dtype));
      std::vector<float> again(37);

      EncodeElements(values, dtype, encoded);
      DecodeElements(dtype, encoded, again);

      for (const float value : again) EXPECT_TRUE(std::isnan(value)) << Name(dtype);
    }
  }
}

TEST_P(EncodingTest, EqualsTheReferenceAtEveryLength) {
  for (const DType dtype : kDTypes) {
    for (size_t count = 0; count <= 70; ++count) {
      const std::vector<float> values = RandomFloats(count, 3.0F, /*seed=*/1);
      Unaligned encoded(count * ElementBytes(dtype));
      std::vector<std::byte> expected(count * ElementBytes(dtype));
      std::vector<float> decoded(count);
      std::vector<float> expected_decoded(count);

      EncodeElements(values, dtype, encoded.span());
      DecodeElements(dtype, encoded.span(), decoded);

      EncodeElementsReference(values, dtype, expected);
      EXPECT_TRUE(std::ranges::equal(encoded.span(), expected)) << Name(dtype) << " " << count;
      DecodeElementsReference(dtype, expected, expected_decoded);
      EXPECT_EQ(decoded, expected_decoded) << Name(dtype) << " " << count;
    }
  }
}

TEST_P(EncodingTest, FindsASingleElementThatIsNotFinite) {
  const float bad_values[] = {std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()};
  for (const DType dtype : kDTypes) {
    for (size_t count = 1; count <= 70; ++count) {
      std::vector<float> values(count, dtype == DType::kF16 ? 65504.0F : 3.3e38F);
      Unaligned encoded(count * ElementBytes(dtype));
      EncodeElements(values, dtype, encoded.span());
      EXPECT_TRUE(AllFinite(dtype, encoded.span())) << Name(dtype) << " " << count;

      for (size_t i = 0; i < count; ++i) {
        std::vector<float> spoiled = values;
        spoiled[i] = bad_values[i % 3];
        EncodeElements(spoiled, dtype, encoded.span());

        EXPECT_FALSE(AllFinite(dtype, encoded.span())) << Name(dtype) << " " << count << " " << i;
        EXPECT_FALSE(AllFiniteReference(dtype, encoded.span()));
      }
    }
  }
}

TEST_P(EncodingTest, NothingIsFinite) {
  for (const DType dtype : kDTypes) EXPECT_TRUE(AllFinite(dtype, {}));
}

TEST_P(EncodingTest, UsesTheInstructionSetUnderTest) {
  const std::string_view expected = GetParam() == HWY_AVX3   ? "AVX-512"
                                    : GetParam() == HWY_AVX2 ? "AVX2"
                                                             : "scalar";
  EXPECT_EQ(InstructionSet(), expected);
}

}  // namespace
}  // namespace alaya
