#include "client/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace alaya::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint16_t Bits(float value, DType dtype) {
  const std::string bytes = EncodeElements({&value, 1}, dtype);
  uint16_t bits = 0;
  std::memcpy(&bits, bytes.data(), sizeof(bits));
  return bits;
}

float Decoded(uint16_t bits, DType dtype) {
  return DecodeElements(AsBytes(std::span<const uint16_t>(&bits, 1)), dtype)[0];
}

struct RoundingCase {
  const char* name;
  DType dtype;
  float value;
  uint16_t bits;
};

class RoundingTest : public testing::TestWithParam<RoundingCase> {};

TEST_P(RoundingTest, RoundsToNearestEven) {
  EXPECT_EQ(Bits(GetParam().value, GetParam().dtype), GetParam().bits);
}

INSTANTIATE_TEST_SUITE_P(
    Values, RoundingTest,
    testing::Values(RoundingCase{"Bf16One", DType::kBF16, 1.0F, 0x3F80},
                    RoundingCase{"Bf16TieToEvenDown", DType::kBF16, 1.00390625F, 0x3F80},
                    RoundingCase{"Bf16TieToEvenUp", DType::kBF16, 1.01171875F, 0x3F82},
                    RoundingCase{"Bf16JustAboveTie", DType::kBF16, 1.0039064F, 0x3F81},
                    RoundingCase{"Bf16Negative", DType::kBF16, -2.0F, 0xC000},
                    RoundingCase{"Bf16Overflow", DType::kBF16, 3.4028235e38F, 0x7F80},
                    RoundingCase{"Bf16Infinity", DType::kBF16, -kInfinity, 0xFF80},
                    RoundingCase{"F16One", DType::kF16, 1.0F, 0x3C00},
                    RoundingCase{"F16TieToEvenDown", DType::kF16, 1.00048828125F, 0x3C00},
                    RoundingCase{"F16TieToEvenUp", DType::kF16, 1.00146484375F, 0x3C02},
                    RoundingCase{"F16Largest", DType::kF16, 65504.0F, 0x7BFF},
                    RoundingCase{"F16JustBelowOverflow", DType::kF16, 65519.996F, 0x7BFF},
                    RoundingCase{"F16Overflow", DType::kF16, 65520.0F, 0x7C00},
                    RoundingCase{"F16SmallestNormal", DType::kF16, 0x1p-14F, 0x0400},
                    RoundingCase{"F16RoundsUpToNormal", DType::kF16, 0x1.FFFp-15F, 0x0400},
                    RoundingCase{"F16SmallestSubnormal", DType::kF16, 0x1p-24F, 0x0001},
                    RoundingCase{"F16HalfOfItIsZero", DType::kF16, 0x1p-25F, 0x0000},
                    RoundingCase{"F16NegativeZero", DType::kF16, -0.0F, 0x8000}),
    [](const auto& value) { return value.param.name; });

TEST(TensorTest, EveryHalfSurvivesARoundTrip) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
      const float value = Decoded(static_cast<uint16_t>(bits), dtype);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(Decoded(Bits(value, dtype), dtype))) << bits;
      } else {
        ASSERT_EQ(Bits(value, dtype), bits) << Name(dtype);
      }
    }
  }
}

TEST(TensorTest, MakeTensorKeepsShapeTypeAndElements) {
  const std::vector<float> elements = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

  const auto tensor = MakeTensor(elements, 2, 3, 2, DType::kF16);

  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->dtype(), pb::DTYPE_F16);
  EXPECT_THAT(tensor->shape(), ElementsAre(2, 3, 2));
  EXPECT_EQ(tensor->data().size(), 24U);
  EXPECT_EQ(*ToFloats(*tensor), elements);
}

TEST(TensorTest, AViewOfATensorIsItsBytes) {
  const std::vector<float> elements = {1, 2, 3, 4};
  const auto tensor = MakeTensor(elements, 2, 1, 2);

  const auto view = ViewTensor(*tensor);

  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view->tokens, 2U);
  EXPECT_EQ(view->data.data(), reinterpret_cast<const std::byte*>(tensor->data().data()));
  const TensorView second = view->tokens_range(1, 1);
  EXPECT_THAT(DecodeElements(second.data, second.dtype), ElementsAre(3.0F, 4.0F));
}

TEST(TensorTest, ElementsMustFillTheShape) {
  const std::vector<float> elements(5);

  const auto tensor = MakeTensor(elements, 2, 1, 3);

  EXPECT_EQ(tensor.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(tensor.status())), HasSubstr("[2,1,3]"));
}

TEST(TensorTest, AShapeThatOverflowsIsRefused) {
  const size_t huge = std::numeric_limits<size_t>::max() / 2;

  const auto tensor = MakeTensor(TensorView{DType::kF32, huge, huge, 4, {}});

  EXPECT_EQ(tensor.status().code(), StatusCode::kInvalidArgument);
}

struct MalformedCase {
  const char* name;
  pb::DType dtype;
  std::vector<int64_t> shape;
  size_t bytes;
};

class MalformedTensorTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(MalformedTensorTest, IsRefused) {
  pb::Tensor tensor;
  tensor.set_dtype(GetParam().dtype);
  tensor.mutable_shape()->Assign(GetParam().shape.begin(), GetParam().shape.end());
  tensor.set_data(std::string(GetParam().bytes, '\0'));

  EXPECT_EQ(ViewTensor(tensor).status().code(), StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(
    Tensors, MalformedTensorTest,
    testing::Values(MalformedCase{"NoType", pb::DTYPE_UNSPECIFIED, {1, 1, 1}, 4},
                    MalformedCase{"UnknownType", static_cast<pb::DType>(9), {1, 1, 1}, 4},
                    MalformedCase{"TooFewBytes", pb::DTYPE_F32, {1, 1, 2}, 4},
                    MalformedCase{"TooManyBytes", pb::DTYPE_F16, {1, 1, 2}, 8},
                    MalformedCase{"NegativeSize", pb::DTYPE_F32, {-1, -1, 1}, 4},
                    MalformedCase{"Overflow", pb::DTYPE_F32, {1L << 32, 1L << 32, 1L << 32}, 0},
                    MalformedCase{"TwoDimensions", pb::DTYPE_F32, {1, 1}, 4}),
    [](const auto& value) { return value.param.name; });

}  // namespace
}  // namespace alaya::client
