#include "client/cli/random_vectors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace alaya::client {
namespace {

TEST(RandomVectorsTest, HaveTheMeanAndDeviationAskedFor) {
  constexpr size_t kCount = 100'000;
  std::vector<float> elements(kCount);
  RandomVectors(/*seed=*/5).Fill(3.0F, elements);
  double sum = 0;
  double square_sum = 0;
  for (const float element : elements) {
    sum += double{element};
    square_sum += double{element} * double{element};
  }

  // Five standard errors of the mean, and of the deviation.
  EXPECT_NEAR(sum / kCount, 0.0, 5 * 3.0 / std::sqrt(kCount));
  EXPECT_NEAR(std::sqrt(square_sum / kCount), 3.0, 5 * 3.0 / std::sqrt(2.0 * kCount));
}

TEST(RandomVectorsTest, FollowTheirSeed) {
  std::vector<float> first(16);
  std::vector<float> same(16);
  std::vector<float> other(16);
  RandomVectors(/*seed=*/1).Fill(1.0F, first);
  RandomVectors(/*seed=*/1).Fill(1.0F, same);
  RandomVectors(/*seed=*/2).Fill(1.0F, other);

  EXPECT_EQ(first, same);
  EXPECT_NE(first, other);
}

}  // namespace
}  // namespace alaya::client
