#include "tests/support/exact_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/random_numbers.h"

namespace alaya {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pointwise;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Four tokens whose scores with query (1, 0) are 0, 2, 1, 2.
struct SmallCase {
  std::vector<float> keys = {0, 5, 2, -1, 1, 0, 2, 7};
  std::vector<float> values = {1, 0, 0, 1, 3, 3, -1, 2};
  std::vector<float> query = {1, 0};
  MatrixView<const float> key_rows{keys.data(), 4, 2};
  MatrixView<const float> value_rows{values.data(), 4, 2};
  std::vector<double> scores = ExactScores(query, key_rows);
};

TEST(ExactAttentionTest, ScoresAreInnerProducts) {
  EXPECT_THAT(SmallCase().scores, ElementsAre(0, 2, 1, 2));
}

TEST(ExactAttentionTest, EqualsSoftmaxWrittenOut) {
  const SmallCase c;
  const double scale = 0.5;
  const double sum = 1 + 2 * std::exp(1.0) + std::exp(0.5);

  const ExactAttention all = AttendRange(c.scores, c.value_rows, scale, {0, 4});

  EXPECT_NEAR(all.log_sum_exp, std::log(sum), 1e-12);
  EXPECT_NEAR(all.output[0], (1 + 3 * std::exp(0.5) - std::exp(1.0)) / sum, 1e-12);
  EXPECT_NEAR(all.output[1], (std::exp(1.0) + 3 * std::exp(0.5) + 2 * std::exp(1.0)) / sum, 1e-12);
}

TEST(ExactAttentionTest, AnEmptySetHasOutputZeroAndLogSumExpMinusInfinity) {
  const SmallCase c;

  const ExactAttention none = AttendRange(c.scores, c.value_rows, 1, {2, 2});

  EXPECT_EQ(none.log_sum_exp, -kInfinity);
  EXPECT_THAT(none.output, ElementsAre(0, 0));
}

TEST(ExactAttentionTest, HugeScoresStayFinite) {
  const std::vector<double> scores = {1e6, 1e6 - 1, -1e6};
  const std::vector<float> values = {1, 2, 4};

  const ExactAttention result = AttendRange(scores, {values.data(), 3, 1}, 1, {0, 3});

  EXPECT_NEAR(result.output[0], (1 + 2 * std::exp(-1.0)) / (1 + std::exp(-1.0)), 1e-12);
  EXPECT_NEAR(result.log_sum_exp, 1e6 + std::log1p(std::exp(-1.0)), 1e-9);
}

TEST(ExactAttentionTest, PartsMergeToTheWhole) {
  const RandomStream random(5);
  std::vector<double> scores(100);
  std::vector<float> values(100);
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = 3 * double{random.Normal(i)};
    values[i] = random.Normal(1000 + i);
  }
  const MatrixView<const float> rows(values.data(), 100, 1);

  const ExactAttention whole = AttendRange(scores, rows, 1, {0, 100});
  const ExactAttention first = AttendRange(scores, rows, 1, {0, 37});
  const ExactAttention second = AttendRange(scores, rows, 1, {37, 100});

  const double p = std::exp(first.log_sum_exp - whole.log_sum_exp);
  const double q = std::exp(second.log_sum_exp - whole.log_sum_exp);
  EXPECT_NEAR(p + q, 1, 1e-12);
  EXPECT_NEAR(p * first.output[0] + q * second.output[0], whole.output[0], 1e-12);
}

TEST(ExactAttentionTest, MassIsTheShareOfTheSoftmax) {
  const SmallCase c;
  const double sum = 1 + 2 * std::exp(2.0) + std::exp(1.0);

  EXPECT_NEAR(MassOf(c.scores, 1, {0, 4}, std::vector<uint32_t>{1, 2}),
              (std::exp(2.0) + std::exp(1.0)) / sum, 1e-12);
  EXPECT_EQ(TokensForMass(c.scores, 1, {0, 4}, std::exp(2.0) / sum - 1e-9), 1U);
  EXPECT_EQ(TokensForMass(c.scores, 1, {0, 4}, std::exp(2.0) / sum + 1e-9), 2U);
  EXPECT_EQ(TokensForMass(c.scores, 1, {0, 4}, 1), 4U);
}

TEST(CriticalTokensTest, DiprTakesWhatIsWithinTheRangeOfTheBest) {
  const SmallCase c;
  const auto alpha = [](double range) { return DiprTarget{std::exp(-range)}; };

  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, DiprTarget{1}), ElementsAre(1, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, alpha(1.1)), ElementsAre(1, 2, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, alpha(0.9)), ElementsAre(1, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, alpha(0.9), 0.2), ElementsAre(1, 2, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, alpha(1.1), -0.2), ElementsAre(1, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 2, {0, 4}, alpha(1.9)), ElementsAre(1, 3));
}

TEST(CriticalTokensTest, DiprLooksForTheBestAmongVisibleTokensOnly) {
  const SmallCase c;

  EXPECT_THAT(CriticalTokens(c.scores, 1, {2, 3}, DiprTarget{0.9}), ElementsAre(2));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {2, 2}, DiprTarget{0.9}), IsEmpty());
}

TEST(CriticalTokensTest, TopKTakesTheEarlierOfEqualScores) {
  const SmallCase c;

  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, TopKTarget{1}), ElementsAre(1));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, TopKTarget{3}), ElementsAre(1, 2, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, TopKTarget{9}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, TopKTarget{1}, 0.1), ElementsAre(1, 3));
}

TEST(CriticalTokensTest, MassTakesTheFewestThatHoldTheFraction) {
  const SmallCase c;

  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, MassTarget{0.5}), ElementsAre(1, 3));
  EXPECT_THAT(CriticalTokens(c.scores, 1, {0, 4}, MassTarget{0.9}), ElementsAre(1, 2, 3));
}

TEST(WindowTokensTest, JoinsSinkAndRecentTokensWithoutRepeating) {
  EXPECT_THAT(WindowTokens({0, 10}, {.sink = 2, .recent = 3}), ElementsAre(0, 1, 7, 8, 9));
  EXPECT_THAT(WindowTokens({0, 4}, {.sink = 3, .recent = 3}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(WindowTokens({1, 4}, {.sink = 2, .recent = 1}), ElementsAre(1, 3));
  EXPECT_THAT(WindowTokens({5, 6}, {.sink = 2, .recent = 8}), ElementsAre(5));
  EXPECT_THAT(WindowTokens({5, 5}, {.sink = 2, .recent = 8}), IsEmpty());
}

TEST(AttendAllTest, GivesEachQueryItsOwnRange) {
  const SmallCase c;
  const std::vector<float> queries = {1, 0, 1, 0, 1, 0};
  const std::vector<TokenRange> visible = {{0, 4}, {1, 3}, {3, 3}};

  const auto all = AttendAll({queries.data(), 3, 2}, c.key_rows, c.value_rows, 1, visible);

  for (size_t i = 0; i < visible.size(); ++i) {
    const ExactAttention one = AttendRange(c.scores, c.value_rows, 1, visible[i]);
    EXPECT_EQ(all[i].log_sum_exp, one.log_sum_exp);
    EXPECT_THAT(all[i].output, Pointwise(DoubleNear(0), one.output));
  }
}

}  // namespace
}  // namespace alaya
