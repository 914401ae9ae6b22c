#include "index/kernels/group_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

class GroupWeightsTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(GroupWeightsTest);

struct Groups {
  explicit Groups(size_t count)
      : steps(count * kCodeGroupTokens), weights(count), square_sums(count), fewest_steps(count) {}
  GroupSums sums() { return {steps, weights, square_sums, fewest_steps}; }

  std::vector<uint8_t> steps;
  std::vector<float> weights;
  std::vector<float> square_sums;
  std::vector<uint8_t> fewest_steps;
};

double StepsBelow(double scale, double top, double score) {
  return (top - score) * scale / std::log(2.0) * kStepsPerOctave;
}

TEST_P(GroupWeightsTest, StepsAreOneOfTheTwoNearestAndSumsAreThoseOfSteps) {
  constexpr float kScale = 0.1F;
  for (const size_t group_count : {1U, 2U, 17U}) {
    const std::vector<float> scores = RandomFloats(group_count * kCodeGroupTokens, 120, /*seed=*/7);
    const float top = *std::ranges::max_element(scores);
    Groups groups(group_count);

    const WeightTotals totals = GroupWeights(scores, kScale, top, groups.sums());

    double total = 0;
    double total_square = 0;
    for (size_t g = 0; g < group_count; ++g) {
      double sum = 0;
      double square_sum = 0;
      size_t fewest = kStepCount;
      for (size_t i = g * kCodeGroupTokens; i < (g + 1) * kCodeGroupTokens; ++i) {
        const size_t steps = groups.steps[i];
        const double exact = StepsBelow(double{kScale}, double{top}, double{scores[i]});
        ASSERT_NEAR(static_cast<double>(steps), std::min(exact, double{kStepCount}), 0.995) << i;
        fewest = std::min(fewest, steps);
        if (steps == kStepCount) continue;
        const double weight = std::exp2(-static_cast<double>(steps) / kStepsPerOctave);
        sum += weight;
        square_sum += weight * weight;
      }
      EXPECT_NEAR(double{groups.weights[g]}, sum, 2e-4 * sum) << g;
      EXPECT_NEAR(double{groups.square_sums[g]}, square_sum, 4e-4 * square_sum) << g;
      EXPECT_EQ(groups.fewest_steps[g], fewest) << g;
      total += sum;
      total_square += square_sum;
    }
    EXPECT_NEAR(totals.sum, total, 2e-4 * total);
    EXPECT_NEAR(totals.square_sum, total_square, 4e-4 * total_square);
  }
}

TEST_P(GroupWeightsTest, RoundingIsNothingOnAverage) {
  constexpr float kScale = 0.2F;
  const std::vector<float> scores = RandomFloats(500 * kCodeGroupTokens, 10, /*seed=*/3);
  const float top = *std::ranges::max_element(scores);
  Groups groups(500);

  const WeightTotals totals = GroupWeights(scores, kScale, top, groups.sums());

  double sum = 0;
  for (const float score : scores) sum += std::exp(double{kScale} * (double{score} - double{top}));
  EXPECT_NEAR(totals.sum, sum, 3e-3 * sum);
}

TEST_P(GroupWeightsTest, RoundingOfEqualScoresIsNothingOnAverage) {
  Groups groups(1);
  for (const float below : {0.0F, 0.01F, 0.03F, 0.06F, 0.1F, 3.33F, 12.3F}) {
    const std::vector<float> scores(kCodeGroupTokens, -below);

    const WeightTotals totals = GroupWeights(scores, 1, 0, groups.sums());

    const double expected = kCodeGroupTokens * std::exp(-double{below});
    EXPECT_NEAR(totals.sum, expected, 3e-3 * expected) << below;
  }
}

TEST_P(GroupWeightsTest, WeightsOfStepsAreThoseThatAreAddedUp) {
  const std::array<float, kStepCount + 1> weights = WeightsOfSteps();
  std::vector<float> scores(kCodeGroupTokens);
  Groups groups(1);
  for (size_t steps = 0; steps <= kStepCount; ++steps) {
    // One token of the group has some weight.
    std::ranges::fill(scores, -std::numeric_limits<float>::infinity());
    scores[steps % kCodeGroupTokens] = -static_cast<float>(steps);
    GroupWeights(scores, static_cast<float>(std::log(2.0) / kStepsPerOctave), 0, groups.sums());

    ASSERT_EQ(groups.steps[steps % kCodeGroupTokens], steps);
    EXPECT_EQ(groups.weights[0], weights[steps]) << steps;
    const double expected =
        steps < kStepCount ? std::exp2(-static_cast<double>(steps) / kStepsPerOctave) : 0;
    EXPECT_NEAR(double{weights[steps]}, expected, 1e-4 * expected);
  }
}

TEST_P(GroupWeightsTest, ScoresFarBelowTheTopWeighNothing) {
  std::vector<float> scores(kCodeGroupTokens, -1e30F);
  scores[0] = 0;
  scores[1] = -3.0e38F;
  scores[2] = -std::numeric_limits<float>::infinity();
  scores[3] = -29.3F;  // 42.3 octaves
  scores[4] = -30;
  Groups groups(1);

  const WeightTotals totals = GroupWeights(scores, 1, 0, groups.sums());

  EXPECT_EQ(groups.steps[2], kStepCount);
  EXPECT_LT(groups.steps[3], kStepCount);
  EXPECT_EQ(groups.steps[4], kStepCount);
  EXPECT_NEAR(totals.sum, 1, 1e-4);
}

TEST_P(GroupWeightsTest, LoweredWeightsAreThoseBelowAHigherTop) {
  constexpr float kScale = 0.1F;
  const auto octave = static_cast<float>(std::log(2.0) / double{kScale});
  const std::vector<float> scores = RandomFloats(3 * kCodeGroupTokens, 120, /*seed=*/5);
  const float top = *std::ranges::max_element(scores);
  for (const size_t octaves : {1U, 4U, 30U, 100U}) {
    Groups lowered(3);
    Groups expected(3);
    GroupWeights(scores, kScale, top, lowered.sums());
    GroupWeights(scores, kScale, top + static_cast<float>(octaves) * octave, expected.sums());

    LowerWeights(octaves * kStepsPerOctave, lowered.sums());

    for (size_t i = 0; i < scores.size(); ++i) {
      EXPECT_NEAR(lowered.steps[i], expected.steps[i], 1) << "what rounds in the higher top";
    }
    for (size_t g = 0; g < 3; ++g) {
      EXPECT_NEAR(lowered.fewest_steps[g], expected.fewest_steps[g], 1);
      // What went below the last step weighs as good as nothing.
      EXPECT_NEAR(lowered.weights[g], expected.weights[g],
                  2e-3F * expected.weights[g] + 64 * 0x1p-42F);
      EXPECT_NEAR(lowered.square_sums[g], expected.square_sums[g],
                  4e-3F * expected.square_sums[g] + 64 * 0x1p-84F);
    }
  }
}

TEST_P(GroupWeightsTest, CountsAndListsWhatIsAboveABar) {
  constexpr size_t kGroups = 20;
  const std::vector<float> scores = RandomFloats(kGroups * kCodeGroupTokens, 120, /*seed=*/9);
  Groups groups(kGroups);
  GroupWeights(scores, 0.1F, *std::ranges::max_element(scores), groups.sums());
  for (const size_t bar : {size_t{0}, size_t{1}, size_t{40}, size_t{150}, kStepCount}) {
    for (const size_t stride : {1U, 7U}) {
      std::array<uint32_t, kStepCount> counts;
      counts.fill(2);
      std::array<uint32_t, kStepCount> expected = counts;
      std::vector<uint32_t> expected_places;
      for (size_t i = 0; i < scores.size(); ++i) {
        if (groups.steps[i] >= bar) continue;
        expected_places.push_back(static_cast<uint32_t>(100 + i));
        if (i / kCodeGroupTokens % stride == 0) ++expected[groups.steps[i]];
      }

      CountSteps(groups.sums(), stride, bar, counts);
      std::vector<uint32_t> places(scores.size());
      places.resize(ListBelowBar(groups.sums(), bar, 100, places));

      EXPECT_EQ(counts, expected);
      EXPECT_EQ(places, expected_places);
    }
  }
}

}  // namespace
}  // namespace alaya
