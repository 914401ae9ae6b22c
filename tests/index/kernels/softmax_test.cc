#include "index/kernels/softmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SoftmaxTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(SoftmaxTest);

TEST_P(SoftmaxTest, FindsTheHighestScoreAtEveryPlace) {
  for (size_t count = 1; count <= 40; ++count) {
    for (size_t place = 0; place < count; ++place) {
      std::vector<float> scores(count, -5.0F);
      scores[place] = -4.0F;

      EXPECT_EQ(MaxScore(scores), -4.0F) << count << " " << place;
    }
  }
  EXPECT_EQ(MaxScore({}), -kInfinity);
}

TEST_P(SoftmaxTest, WeightsEqualTheReference) {
  for (const float deviation : {0.01F, 1.0F, 30.0F, 1e6F, 1e37F}) {
    for (size_t count = 0; count <= 40; ++count) {
      const std::vector<float> scores = RandomFloats(count, deviation, /*seed=*/8);
      const float max = count == 0 ? 0.0F : *std::ranges::max_element(scores);
      const float scale = 0.088388348F;
      std::vector<float> weights(count);
      std::vector<double> expected(count);

      const double sum = SoftmaxWeights(scores, scale, max, weights);

      const double expected_sum = SoftmaxWeightsReference(scores, scale, max, expected);
      for (size_t i = 0; i < count; ++i) {
        const double logit = double{scale} * (double{max} - double{scores[i]});
        EXPECT_NEAR(weights[i], expected[i], 1e-6 * (1 + logit) * expected[i] + 1.2e-38);
      }
      EXPECT_NEAR(sum, expected_sum, 3e-6 * expected_sum);
    }
  }
}

TEST_P(SoftmaxTest, EveryLogitHasItsWeight) {
  std::vector<float> scores;
  for (int i = 0; i <= 100000; ++i) scores.push_back(static_cast<float>(-i) * 1e-3F);
  std::vector<float> weights(scores.size());

  SoftmaxWeights(scores, 1.0F, 0.0F, weights);

  for (size_t i = 0; i < scores.size(); ++i) {
    const double expected = std::exp(double{scores[i]});
    ASSERT_NEAR(weights[i], expected, 1e-6 * (1 - scores[i]) * expected + 1.2e-38) << scores[i];
  }
}

TEST_P(SoftmaxTest, TheHighestScoreWeighsExactlyOne) {
  for (const float max : {-1e30F, -3.0F, 0.0F, 1e-30F, 7.0F, 3e38F}) {
    std::vector<float> scores(19, max);

    EXPECT_EQ(SoftmaxWeights(scores, 0.1F, max, scores), 19.0);

    for (const float weight : scores) EXPECT_EQ(weight, 1.0F);
  }
}

TEST_P(SoftmaxTest, MinusInfinityWeighsNothing) {
  std::vector<float> scores(19, -kInfinity);
  scores[18] = 2.0F;

  EXPECT_EQ(SoftmaxWeights(scores, 0.1F, 2.0F, scores), 1.0);

  for (size_t i = 0; i < 18; ++i) EXPECT_EQ(scores[i], 0.0F);
}

TEST_P(SoftmaxTest, FilterKeepsScoresAtOrAboveTheBarInOrder) {
  for (size_t count = 0; count <= 70; ++count) {
    const std::vector<float> scores = RandomFloats(count, 1.0F, /*seed=*/9);
    for (const float bar : {-kInfinity, -1.0F, 0.0F, count > 0 ? scores[count / 2] : 1.0F, 9.0F}) {
      std::vector<uint32_t> tokens(count + kFilterPadding);
      std::vector<float> kept(count + kFilterPadding);
      std::vector<uint32_t> expected_tokens;
      std::vector<float> expected_kept;
      for (size_t i = 0; i < count; ++i) {
        if (scores[i] < bar) continue;
        expected_tokens.push_back(1000 + static_cast<uint32_t>(i));
        expected_kept.push_back(scores[i]);
      }

      const size_t found = FilterScores(scores, bar, 1000, tokens, kept);

      tokens.resize(found);
      kept.resize(found);
      EXPECT_EQ(tokens, expected_tokens);
      EXPECT_EQ(kept, expected_kept);
    }
  }
}

}  // namespace
}  // namespace alaya
