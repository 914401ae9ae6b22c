#include "cuda/kernels/flat_encode.cuh"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/cuda/kernels/host_launch.h"

namespace alaya {
namespace {

std::vector<float> RandomFloats(size_t count, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The rotation in double, by its definition.
std::vector<double> Rotated(std::vector<double> x) {
  const auto dim = static_cast<uint32_t>(x.size());
  uint32_t size = 1;
  while (2 * size <= dim) size *= 2;
  for (uint32_t round = 0; round < (size == dim ? 2U : 4U); ++round) {
    for (uint32_t e = 0; e < dim; ++e) x[e] *= double{RotationSign(round * dim + e)};
    const uint32_t begin = round % 2 == 0 ? 0 : dim - size;
    std::vector<double> transformed(size);
    for (uint32_t i = 0; i < size; ++i) {
      for (uint32_t j = 0; j < size; ++j) {
        const double sign = __builtin_popcount(i & j) % 2 == 0 ? 1 : -1;
        transformed[i] += sign * x[begin + j] / std::sqrt(static_cast<double>(size));
      }
    }
    for (uint32_t i = 0; i < size; ++i) x[begin + i] = transformed[i];
  }
  return x;
}

struct EncodeCase {
  const char* name;
  uint32_t head_dim;
  uint32_t token_count;
  DType dtype;
  float deviation = 1;
};

class FlatEncodeTest : public testing::TestWithParam<EncodeCase> {
 protected:
  FlatEncodeTest()
      : head_dim_(GetParam().head_dim),
        token_count_(GetParam().token_count),
        keys_(GetParam().dtype, head_dim_, Keys()),
        values_(GetParam().dtype, head_dim_, RandomFloats(size_t{token_count_} * head_dim_, 1, 2)),
        head_(keys_, values_, head_dim_) {}

  // Normal ones with an outlier channel, around a centre.
  std::vector<float> Keys() const {
    std::vector<float> keys =
        RandomFloats(size_t{token_count_} * head_dim_, GetParam().deviation, 1);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i % head_dim_ == 3) keys[i] = 20 * GetParam().deviation + 5 * keys[i];
    }
    return keys;
  }

  const uint32_t head_dim_;
  const uint32_t token_count_;
  HostRows keys_;
  HostRows values_;
  const HostFlatHead head_;
};

TEST_P(FlatEncodeTest, WhatLevelsLeaveOfAKeyIsWithinItsError) {
  double error_sum = 0;
  double length_sum = 0;
  for (uint32_t token = 0; token < token_count_; ++token) {
    std::vector<double> key(head_dim_);
    for (uint32_t e = 0; e < head_dim_; ++e) {
      key[e] =
          double{keys_.elements()[size_t{token} * head_dim_ + e]} - double{head_.view().centre[e]};
    }
    key = Rotated(key);
    double left = 0;
    double length = 0;
    for (uint32_t e = 0; e < head_dim_; ++e) {
      const double level = head_.scale(token) * (head_.code(token, e) - 3.5);
      left += (key[e] - level) * (key[e] - level);
      length += key[e] * key[e];
    }

    ASSERT_LE(std::sqrt(left), head_.error(token)) << "token " << token;
    error_sum += head_.error(token);
    length_sum += std::sqrt(length);
  }
  // Three bits leave 0.186 of a normal vector.
  if (token_count_ > 1) {
    EXPECT_LT(error_sum / length_sum, 0.22);
  }
}

TEST_P(FlatEncodeTest, TokensThatALastGroupDoesNotHaveAreZeros) {
  for (uint32_t token = token_count_; token < CodeGroups(token_count_) * 64; ++token) {
    EXPECT_EQ(head_.scale(token), 0);
    EXPECT_EQ(head_.error(token), 0);
    for (uint32_t e = 0; e < head_dim_; ++e) ASSERT_EQ(head_.code(token, e), 0U);
  }
}

TEST_P(FlatEncodeTest, ValuesAreSummarisedByGroup) {
  double deviation_square_sum = 0;
  for (uint32_t group = 0; group < CodeGroups(token_count_); ++group) {
    const uint32_t end = std::min(64 * group + 64, token_count_);
    for (uint32_t e = 0; e < head_dim_; ++e) {
      double sum = 0;
      double square_sum = 0;
      for (uint32_t token = 64 * group; token < end; ++token) {
        const double value = values_.elements()[size_t{token} * head_dim_ + e];
        sum += value;
        square_sum += value * value;
      }
      const double mean = sum / (end - 64 * group);

      const uint16_t stored = head_.view().value_means[size_t{group} * head_dim_ + e];
      ASSERT_NEAR(DecodeBF16(stored), mean, std::abs(mean) * 0x1p-8 + 1e-6);
      deviation_square_sum += square_sum - mean * sum;
    }
  }
  EXPECT_NEAR(head_.view().summary->deviation_square_sum, deviation_square_sum,
              1e-4 * deviation_square_sum + 1e-3);
}

TEST_P(FlatEncodeTest, DoesNotDependOnTheOrderOfLoops) {
  const BackwardLoops backward;
  const HostFlatHead again(keys_, values_, head_dim_);

  for (uint32_t token = 0; token < token_count_; ++token) {
    EXPECT_EQ(again.scale(token), head_.scale(token));
    for (uint32_t e = 0; e < head_dim_; ++e) {
      ASSERT_EQ(again.code(token, e), head_.code(token, e));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, FlatEncodeTest,
                         testing::Values(EncodeCase{"Standard", 128, 200, DType::kBF16},
                                         EncodeCase{"Halves", 64, 130, DType::kF16},
                                         EncodeCase{"Floats", 96, 100, DType::kF32},
                                         EncodeCase{"NoWholeRun", 80, 65, DType::kBF16},
                                         EncodeCase{"Large", 256, 70, DType::kBF16},
                                         EncodeCase{"OneToken", 128, 1, DType::kBF16},
                                         EncodeCase{"Tiny", 64, 64, DType::kF32, 1e-12F},
                                         EncodeCase{"Huge", 64, 64, DType::kF32, 1e14F}),
                         [](const auto& each) { return each.param.name; });

TEST(FlatEncodeLimitsTest, KeysBeyondAllScalesHaveAnInfiniteErrorAndZerosNearlyNone) {
  constexpr uint32_t kHeadDim = 64;
  std::vector<float> elements(3 * kHeadDim, 0.0F);
  for (uint32_t e = 0; e < kHeadDim; ++e) elements[kHeadDim + e] = 1e19F;
  for (uint32_t e = 0; e < kHeadDim; ++e) elements[2 * kHeadDim + e] = -1e19F;
  HostRows keys(DType::kF32, kHeadDim, elements);
  HostRows values(DType::kF32, kHeadDim, elements);

  const HostFlatHead head(keys, values, kHeadDim);

  EXPECT_LT(head.error(0), 1e-14);  // the centre is zero, as the token
  EXPECT_TRUE(std::isinf(head.error(1)));
  EXPECT_TRUE(std::isinf(head.error(2)));
  EXPECT_EQ(head.scale(1), 0);
}

TEST(FlatHeadTest, TakesLessThanAnEighthOfKeysAndValues) {
  for (const uint32_t head_dim : {64U, 96U, 128U, 256U}) {
    constexpr uint32_t kTokens = 128 * 1024;
    const size_t kv_bytes = size_t{2} * kTokens * head_dim * ElementBytes(DType::kBF16);
    EXPECT_LT(FlatHeadBytes(head_dim, kTokens), kv_bytes / 8) << head_dim;
  }
}

}  // namespace
}  // namespace alaya
