// Approximate scores against exact ones in double: sound bounds are never exceeded,
// statistical ones about as seldom as a normal distribution says.

#include "index/flat/bounds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/kernels/bf16.h"
#include "tests/index/kernels/random_codes.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

struct Exceeded {
  size_t sound = 0;
  size_t statistical = 0;
  size_t coarse = 0;
  size_t count = 0;
};

float BoundOf(const ErrorFactors& factors, uint16_t scale, uint16_t error) {
  return factors.error_factor * BF16ToFloat(error) + factors.scale_factor * BF16ToFloat(scale) +
         factors.constant;
}

// 64 keys, 4 queries; queries lean on the first keys, so that some scores are high.
Exceeded Compare(size_t head_dim, float key_size, float query_size, uint32_t seed) {
  std::vector<float> raw = RandomFloats(64 * head_dim, key_size, seed);
  const EncodedMatrix keys = Encode(raw, head_dim, DType::kF32);
  std::vector<float> queries = RandomFloats(4 * head_dim, query_size, seed + 1);
  for (size_t q = 0; q < 4; ++q) {
    for (size_t e = 0; e < head_dim; ++e) {
      queries[q * head_dim + e] += query_size * (keys.values[q * head_dim + e] / key_size);
    }
  }
  const std::vector<float> centre = RandomFloats(head_dim, key_size, seed + 2);
  const Rotation rotation(head_dim, seed);
  const auto high = hwy::AllocateAligned<std::byte>(HighBytes(head_dim));
  const auto low = hwy::AllocateAligned<std::byte>(LowBytes(head_dim));
  std::fill_n(high.get(), HighBytes(head_dim), std::byte{0});
  std::fill_n(low.get(), LowBytes(head_dim), std::byte{0});
  std::vector<uint16_t> numbers(256);
  EncodeKeys({&rotation, centre}, keys.view, 0,
             {head_dim, 1, high.get(), low.get(), &numbers[0], &numbers[64], &numbers[128],
              &numbers[192]});
  const KeyCodes codes = {
      head_dim, 1, high.get(), low.get(), &numbers[0], &numbers[64], &numbers[128], &numbers[192]};
  std::vector<float> rotated(4 * head_dim);
  Rotate(rotation, {queries.data(), 4, head_dim}, {rotated.data(), 4, head_dim});
  std::vector<float> centre_scores(4);
  double centre_square = 0;
  for (const float element : centre) centre_square += double{element} * double{element};
  for (size_t q = 0; q < 4; ++q) {
    double sum = 0;
    for (size_t e = 0; e < head_dim; ++e) sum += double{queries[q * head_dim + e]} * centre[e];
    centre_scores[q] = static_cast<float>(sum);
  }
  const CodeQueries code_queries({rotated.data(), 4, head_dim}, centre_scores);
  std::vector<float> fine(4 * 64);
  std::vector<float> coarse(4 * 64);
  FineScores(code_queries, codes, {fine.data(), 4, 64});
  AllCoarseScores(code_queries, codes, {coarse.data(), 4, 64});

  Exceeded exceeded;
  for (size_t q = 0; q < 4; ++q) {
    // The rotation keeps lengths.
    const Bounds bounds(&code_queries[q], head_dim,
                        {code_queries[q].length, std::sqrt(centre_square)});
    const ErrorFactors sound = bounds.Sound();
    const ErrorFactors statistical = bounds.Statistical(2);
    const ErrorFactors of_coarse = bounds.Coarse(2);
    for (size_t j = 0; j < 64; ++j) {
      double exact = 0;
      for (size_t e = 0; e < head_dim; ++e) {
        exact += double{queries[q * head_dim + e]} * keys.values[j * head_dim + e];
      }
      const double fine_off = std::fabs(fine[q * 64 + j] - exact);
      const double coarse_off = std::fabs(coarse[q * 64 + j] - exact);
      exceeded.sound += fine_off > BoundOf(sound, codes.fine_scale[j], codes.fine_error[j]);
      exceeded.statistical +=
          fine_off > BoundOf(statistical, codes.fine_scale[j], codes.fine_error[j]);
      exceeded.coarse +=
          coarse_off > BoundOf(of_coarse, codes.coarse_scale[j], codes.coarse_error[j]);
      ++exceeded.count;
    }
  }
  return exceeded;
}

TEST(BoundsTest, SoundOnesAreNeverExceeded) {
  for (const size_t head_dim : std::vector<size_t>{8, 64, 96, 128, 256}) {
    for (const float key_size : {1e-30F, 1e-16F, 1e-5F, 1.0F, 1e5F, 1e15F, 1e25F}) {
      for (const float query_size : {1e-20F, 1.0F, 1e10F}) {
        EXPECT_EQ(Compare(head_dim, key_size, query_size, 1).sound, 0U)
            << head_dim << " " << key_size << " " << query_size;
      }
    }
  }
}

TEST(BoundsTest, TwoDeviationsAreExceededAboutAsOftenAsNormally) {
  Exceeded total;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    const Exceeded exceeded = Compare(128, 1.0F, 1.0F, 10 * seed);
    total.statistical += exceeded.statistical;
    total.coarse += exceeded.coarse;
    total.count += exceeded.count;
  }
  // 4.6 % of a normal distribution lie beyond; the bound is a little wider.
  const auto count = static_cast<double>(total.count);
  EXPECT_LT(static_cast<double>(total.statistical), 0.055 * count);
  EXPECT_LT(static_cast<double>(total.coarse), 0.055 * count);
  EXPECT_GT(static_cast<double>(total.coarse), 0.01 * count);
}

}  // namespace
}  // namespace alaya
