// Approximate scores against exact ones in double: sound bounds are never exceeded,
// statistical ones about as seldom as a normal distribution says.

#include "index/flat/bounds.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/index/flat/score_errors.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

// 64 keys, 4 queries; queries lean on the first keys, so that some scores are high.
ScoreErrors Compare(size_t head_dim, float key_size, float query_size, uint32_t seed) {
  std::vector<float> raw = RandomFloats(64 * head_dim, key_size, seed);
  const EncodedMatrix keys = Encode(raw, head_dim, DType::kF32);
  std::vector<float> queries = RandomFloats(4 * head_dim, query_size, seed + 1);
  for (size_t q = 0; q < 4; ++q) {
    for (size_t e = 0; e < head_dim; ++e) {
      queries[q * head_dim + e] += query_size * (keys.values[q * head_dim + e] / key_size);
    }
  }
  const std::vector<float> centre = RandomFloats(head_dim, key_size, seed + 2);
  return ErrorsOf(keys, centre, queries, seed);
}

TEST(BoundsTest, SoundOnesAreNeverExceeded) {
  for (const size_t head_dim : std::vector<size_t>{8, 64, 96, 128, 256}) {
    for (const float key_size : {1e-30F, 1e-16F, 1e-5F, 1.0F, 1e5F, 1e15F, 1e25F}) {
      for (const float query_size : {1e-20F, 1.0F, 1e10F}) {
        EXPECT_EQ(Compare(head_dim, key_size, query_size, 1).sound_exceeded, 0U)
            << head_dim << " " << key_size << " " << query_size;
      }
    }
  }
}

TEST(BoundsTest, TwoDeviationsAreExceededAboutAsOftenAsNormally) {
  ScoreErrors total;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    const ScoreErrors errors = Compare(128, 1.0F, 1.0F, 10 * seed);
    total.statistical_exceeded += errors.statistical_exceeded;
    total.coarse_exceeded += errors.coarse_exceeded;
    total.count += errors.count;
  }
  // 4.6 % of a normal distribution lie beyond; the bound is a little wider.
  EXPECT_LT(total.share(total.statistical_exceeded), 0.055);
  EXPECT_LT(total.share(total.coarse_exceeded), 0.055);
  EXPECT_GT(total.share(total.coarse_exceeded), 0.01);
}

}  // namespace
}  // namespace alaya
