#include "index/kernels/group_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

class GroupWeightsTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(GroupWeightsTest);

TEST_P(GroupWeightsTest, SumsEqualTheDefinition) {
  for (const size_t token_count : {1U, 2U, 15U, 16U, 17U, 63U, 64U, 65U, 129U, 1000U}) {
    for (const size_t first_group_tokens : {1U, 7U, 16U, 63U, 64U}) {
      const size_t after_first = token_count - std::min(token_count, first_group_tokens);
      const size_t group_count = 1 + (after_first + kGroupTokens - 1) / kGroupTokens;
      const std::vector<float> scores = RandomFloats(token_count, 40, /*seed=*/7);
      const float top = *std::ranges::max_element(scores);
      std::vector<float> sums(group_count);
      std::vector<float> square_sums(group_count);
      std::vector<float> tops(group_count);
      std::vector<double> expected(group_count);

      const WeightTotals totals =
          GroupWeights(scores, 0.1F, top, first_group_tokens, {sums, square_sums, tops});

      const WeightTotals expected_totals =
          GroupWeightsReference(scores, 0.1F, top, first_group_tokens, expected);
      EXPECT_NEAR(totals.sum, expected_totals.sum, 2e-4 * expected_totals.sum);
      EXPECT_NEAR(totals.square_sum, expected_totals.square_sum, 4e-4 * expected_totals.square_sum);
      for (size_t g = 0; g < group_count; ++g) {
        EXPECT_NEAR(double{sums[g]}, expected[g], 2e-4 * expected[g]) << "group " << g;
        const size_t begin = g == 0 ? 0 : first_group_tokens + (g - 1) * kGroupTokens;
        const size_t end = std::min(first_group_tokens + g * kGroupTokens, token_count);
        const std::span<const float> group = std::span(scores).subspan(begin, end - begin);
        EXPECT_EQ(tops[g], std::ranges::max(group));
        double expected_squares = 0;
        for (const float score : group) {
          expected_squares += std::exp(2 * double{0.1F} * (double{score} - double{top}));
        }
        EXPECT_NEAR(double{square_sums[g]}, expected_squares, 4e-4 * expected_squares);
      }
    }
  }
}

TEST_P(GroupWeightsTest, EveryLogitHasItsWeight) {
  std::vector<float> scores;
  for (int i = 0; i <= 80000; ++i) scores.push_back(static_cast<float>(-i) * 1e-3F);
  std::vector<float> weights(scores.size());

  CoarseWeights(scores, 1, 0, weights);

  for (size_t i = 0; i < scores.size(); ++i) {
    const double expected = std::exp(double{scores[i]});
    ASSERT_NEAR(double{weights[i]}, expected, (1e-4 - 1e-6 * double{scores[i]}) * expected) << i;
  }
}

TEST_P(GroupWeightsTest, WeightsBeyondFloatsRangeAreNothing) {
  const std::vector<float> scores = {0, -1e30F, -3.0e38F, -1};
  std::vector<float> sums(1);
  std::vector<float> square_sums(1);
  std::vector<float> tops(1);

  const WeightTotals totals = GroupWeights(scores, 1, 0, 64, {sums, square_sums, tops});

  EXPECT_NEAR(totals.sum, 1 + std::exp(-1.0), 3e-4);
}

}  // namespace
}  // namespace alaya
