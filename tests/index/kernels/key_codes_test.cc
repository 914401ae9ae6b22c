#include "index/kernels/key_codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/kernels/bf16.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

class KeyCodesTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(KeyCodesTest);

// R x by its definition, in double.
std::vector<double> RotateReference(const Rotation& rotation, std::vector<double> x) {
  const size_t size = rotation.transform_size();
  for (size_t round = 0; round < rotation.round_count(); ++round) {
    for (size_t i = 0; i < x.size(); ++i) x[i] *= double{rotation.signs(round)[i]};
    const size_t begin = rotation.transform_begin(round);
    std::vector<double> sums(size);
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j < size; ++j) {
        sums[i] += std::popcount(i & j) % 2 == 0 ? x[begin + j] : -x[begin + j];
      }
    }
    for (size_t i = 0; i < size; ++i) x[begin + i] = sums[i] / std::sqrt(static_cast<double>(size));
  }
  return x;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

TEST_P(KeyCodesTest, RotationsKeepInnerProducts) {
  for (size_t head_dim = 8; head_dim <= 264; head_dim += 8) {
    const Rotation rotation(head_dim, /*seed=*/5);
    const std::vector<float> vectors = RandomFloats(2 * head_dim, 1.0F, 1);
    std::vector<float> rotated(2 * head_dim);

    Rotate(rotation, {vectors.data(), 2, head_dim}, {rotated.data(), 2, head_dim});

    const std::vector<double> a(vectors.begin(), vectors.begin() + static_cast<long>(head_dim));
    const std::vector<double> b(vectors.begin() + static_cast<long>(head_dim), vectors.end());
    const std::vector<double> a_rotated = RotateReference(rotation, a);
    const std::vector<double> b_rotated = RotateReference(rotation, b);
    EXPECT_NEAR(Dot(a, b), Dot(a_rotated, b_rotated), 1e-9);
    double off = 0;
    for (size_t i = 0; i < head_dim; ++i) off += std::pow(a_rotated[i] - rotated[i], 2);
    EXPECT_LE(std::sqrt(off), kRotationError * std::sqrt(Dot(a, a))) << head_dim;
  }
}

// A group's codes.
struct Group {
  explicit Group(size_t head_dim) : high(hwy::AllocateAligned<std::byte>(HighBytes(head_dim))) {
    std::fill_n(high.get(), HighBytes(head_dim), std::byte{0});
    low.resize(LowBytes(head_dim));
    numbers.resize(256);
    view = {
        head_dim,     1, high.get(), low.data(), numbers.data(), numbers.data() + 64, &numbers[128],
        &numbers[192]};
  }

  hwy::AlignedFreeUniquePtr<std::byte[]> high;
  std::vector<std::byte> low;
  std::vector<uint16_t> numbers;
  MutableKeyCodes view;
};

unsigned HighCode(const Group& group, size_t token, size_t element) {
  const auto byte = static_cast<unsigned>(group.view.high[element / 4 * 64 + token]);
  return byte >> element % 4 * 2 & 3;
}
unsigned LowCode(const Group& group, size_t token, size_t element) {
  // [head_dim / 16, 4, 4, 4, 4]: runs of 16 elements, token / 4 % 4, token / 16, token % 4,
  // bytes of 4 elements.
  const size_t vector = element / 16 * 4 + token / 4 % 4;
  const size_t place = ((vector * 4 + token / 16) * 4 + token % 4) * 4 + element / 4 % 4;
  const auto byte = static_cast<unsigned>(group.view.low[place]);
  return byte >> element % 4 * 2 & 3;
}

// Both pairs of scale and error of every token, against exact arithmetic. Returns the
// mean of fine error / |x|.
double ExpectErrorsHold(const EncodedMatrix& keys, const std::vector<float>& centre,
                        size_t first_token) {
  const size_t head_dim = keys.view.cols;
  const Rotation rotation(head_dim, /*seed=*/6);
  Group group(head_dim);

  EncodeKeys({&rotation, centre}, keys.view, first_token, group.view);

  double share = 0;
  for (size_t t = 0; t < keys.view.rows; ++t) {
    std::vector<double> x(head_dim);
    for (size_t e = 0; e < head_dim; ++e) x[e] = double{keys.values[t * head_dim + e]} - centre[e];
    x = RotateReference(rotation, x);
    const size_t token = first_token + t;
    const double fine_scale = BF16ToFloat(group.view.fine_scale[token]);
    const double coarse_scale = BF16ToFloat(group.view.coarse_scale[token]);
    double fine = 0;
    double coarse = 0;
    for (size_t e = 0; e < head_dim; ++e) {
      const unsigned high = HighCode(group, token, e);
      const unsigned code = 4 * high + LowCode(group, token, e);
      fine += std::pow(x[e] - fine_scale * (code - 7.5), 2);
      coarse += std::pow(x[e] - coarse_scale * (high - 1.5), 2);
    }
    const double length = std::sqrt(Dot(x, x));
    // The double arithmetic of this test rounds as well.
    const double slack = 1e-14 * length;
    EXPECT_LE(std::sqrt(fine), BF16ToFloat(group.view.fine_error[token]) + slack);
    EXPECT_LE(std::sqrt(coarse), BF16ToFloat(group.view.coarse_error[token]) + slack);
    if (fine_scale > 0) {
      EXPECT_LE(length, fine_scale * std::sqrt(static_cast<double>(head_dim)) / kFineScaleRatio);
    } else {
      EXPECT_LE(length, BF16ToFloat(group.view.fine_error[token]));
    }
    share += BF16ToFloat(group.view.fine_error[token]) / length;
  }
  // Tokens that were not coded stay as they were.
  for (size_t token = 0; token < 64; ++token) {
    if (token >= first_token && token < first_token + keys.view.rows) continue;
    EXPECT_EQ(group.view.fine_scale[token], 0);
    for (size_t e = 0; e < head_dim; ++e) EXPECT_EQ(HighCode(group, token, e), 0U);
  }
  return share / static_cast<double>(keys.view.rows);
}

TEST_P(KeyCodesTest, ErrorsHoldAtEveryHeadDimAndType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const size_t head_dim : std::vector<size_t>{8, 16, 40, 64, 72, 96, 128, 256}) {
      const std::vector<float> centre = RandomFloats(head_dim, 2.0F, 8);
      const EncodedMatrix keys = Encode(RandomFloats(64 * head_dim, 1.5F, 9), head_dim, dtype);
      ExpectErrorsHold(keys, centre, 0);
    }
  }
}

TEST_P(KeyCodesTest, ErrorsHoldForAnyRunOfTokens) {
  for (const size_t count : std::vector<size_t>{1, 15, 16, 17, 33}) {
    const EncodedMatrix keys = Encode(RandomFloats(count * 64, 1.0F, 10), 64, DType::kBF16);
    ExpectErrorsHold(keys, std::vector<float>(64), 0);
    ExpectErrorsHold(keys, std::vector<float>(64), 64 - count);
  }
}

TEST_P(KeyCodesTest, ErrorsHoldForExtremeKeys) {
  for (const float size :
       {0.0F, 1e-44F, 1e-38F, 1e-20F, 1e-16F, 1e-10F, 1e10F, 1e17F, 1e19F, 1e37F}) {
    std::vector<float> values = RandomFloats(64 * 96, 1.0F, 11);
    for (float& value : values) value *= size;
    ExpectErrorsHold(Encode(values, 96, DType::kF32), std::vector<float>(96), 0);
  }
}

// Of keys that a map brought elsewhere, half of whose elements have coarse codes.
void ExpectMappedErrorsHold(size_t head_dim, float size) {
  const EncodedMatrix keys = Encode(RandomFloats(37 * head_dim, size, 13), head_dim, DType::kF32);
  const std::vector<float> centre = RandomFloats(head_dim, size, 14);
  KeyMap map;
  map.rows = RandomFloats(head_dim * head_dim, 0.3F, 15);
  map.coarse_dim = head_dim / 8 * 4;
  map.rest_weight = 0.25F;
  map.rounding =
      static_cast<double>(head_dim + 8) * 0x1p-24 *
      std::sqrt(std::inner_product(map.rows.begin(), map.rows.end(), map.rows.begin(), 0.0));
  Group group(head_dim);

  EncodeKeys({.centre = centre, .map = &map}, keys.view, 5, group.view);

  for (size_t t = 0; t < keys.view.rows; ++t) {
    std::vector<double> x(head_dim);
    for (size_t i = 0; i < head_dim; ++i) {
      for (size_t e = 0; e < head_dim; ++e) {
        x[i] += double{map.rows[i * head_dim + e]} *
                (double{keys.values[t * head_dim + e]} - double{centre[e]});
      }
    }
    const double fine_scale = BF16ToFloat(group.view.fine_scale[5 + t]);
    const double coarse_scale = BF16ToFloat(group.view.coarse_scale[5 + t]);
    double fine = 0;
    double coarse = 0;
    for (size_t e = 0; e < head_dim; ++e) {
      const unsigned high = HighCode(group, 5 + t, e);
      fine += std::pow(x[e] - fine_scale * (4 * high + LowCode(group, 5 + t, e) - 7.5), 2);
      coarse += e < map.coarse_dim ? std::pow(x[e] - coarse_scale * (high - 1.5), 2)
                                   : std::pow(0.25 * x[e], 2);
    }
    const double slack = 1e-14 * std::sqrt(Dot(x, x));
    EXPECT_LE(std::sqrt(fine), BF16ToFloat(group.view.fine_error[5 + t]) + slack);
    EXPECT_LE(std::sqrt(coarse), BF16ToFloat(group.view.coarse_error[5 + t]) + slack);
    // And are no larger than they must be.
    EXPECT_GT(std::sqrt(fine) * 1.02, BF16ToFloat(group.view.fine_error[5 + t]));
    EXPECT_GT(std::sqrt(coarse) * 1.02, BF16ToFloat(group.view.coarse_error[5 + t]));
  }
}

TEST_P(KeyCodesTest, ErrorsOfMappedKeysHold) {
  for (const size_t head_dim : std::vector<size_t>{8, 16, 40, 64, 96, 128, 256}) {
    for (const float size : {1e-6F, 1.0F, 1e6F}) {
      SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", size " << size);
      ExpectMappedErrorsHold(head_dim, size);
    }
  }
}

TEST_P(KeyCodesTest, OfMappedKeysWithoutCoarseElementsTheErrorIsAll) {
  KeyMap map;
  map.rows.assign(64, 0.0F);
  for (size_t e = 4; e < 8; ++e) map.rows[9 * e] = 1;
  map.coarse_dim = 4;
  map.rest_weight = 0.5F;
  const std::vector<float> ones(8, 1.0F);
  const std::vector<float> centre(8);
  Group group(8);

  EncodeKeys({.centre = centre, .map = &map}, Encode(ones, 8, DType::kF32).view, 0, group.view);

  EXPECT_NEAR(BF16ToFloat(group.view.coarse_error[0]), 1, 0.01);
  EXPECT_EQ(group.view.coarse_scale[0], 0);
}

TEST_P(KeyCodesTest, FourBitsLeaveAboutATenthOfANormalKey) {
  const EncodedMatrix keys = Encode(RandomFloats(64 * 128, 1.0F, 12), 128, DType::kF32);
  EXPECT_LT(ExpectErrorsHold(keys, std::vector<float>(128), 0), 0.115);
}

TEST_P(KeyCodesTest, KeysTooLargeForTheCodesHaveInfiniteErrors) {
  const std::vector<float> values(64, std::numeric_limits<float>::max());
  const EncodedMatrix keys = Encode(values, 64, DType::kF32);
  const Rotation rotation(64, 1);
  Group group(64);

  EncodeKeys({&rotation, std::vector<float>(64, -1e38F)}, keys.view, 0, group.view);

  EXPECT_EQ(BF16ToFloat(group.view.fine_error[0]), std::numeric_limits<float>::infinity());
  EXPECT_EQ(BF16ToFloat(group.view.coarse_error[0]), std::numeric_limits<float>::infinity());
  EXPECT_EQ(group.view.fine_scale[0], 0);
}

}  // namespace
}  // namespace alaya
