// What an estimate of the rest promises: the error of the whole output stays near the
// given share of its norm, and the mass is right.

#include "index/flat/rest_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace alaya {
namespace {

constexpr size_t kDim = 32;
constexpr float kScale = 0.25F;

// Tokens with exact and approximate scores and values; the oracle in double.
struct Tokens {
  std::vector<float> exact;
  std::vector<float> approximate;
  std::vector<double> values;  // [token_count, kDim]
  float deviation = 0;

  size_t count() const { return exact.size(); }
  double weight(size_t token) const { return std::exp(double{kScale} * double{exact[token]}); }
  float top() const { return *std::ranges::max_element(approximate); }
};

Tokens MakeTokens(size_t count, double logit_deviation, double error, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Tokens tokens;
  tokens.deviation = static_cast<float>(error / double{kScale});
  for (size_t i = 0; i < count; ++i) {
    const double score = logit_deviation / double{kScale} * normal(random);
    tokens.exact.push_back(static_cast<float>(score));
    tokens.approximate.push_back(
        static_cast<float>(score + error / double{kScale} * normal(random)));
  }
  for (size_t i = 0; i < count * kDim; ++i) {
    // Neighbours have a part in common, as topics have.
    tokens.values.push_back(0.3 * std::sin(static_cast<double>(i / kDim / 64 * 7 + i % kDim)) +
                            normal(random));
  }
  return tokens;
}

// An estimate with room for its groups. Scores come `step` groups at a time, the first one's from
// its token `first_place` on.
struct Rest {
  Rest(std::span<const float> scores, float scale, size_t first, size_t step = 1000)
      : first_place(first),
        weights((first + scores.size() + kCodeGroupTokens - 1) / kCodeGroupTokens),
        square_sums(weights.size()),
        fewest_steps(weights.size()),
        steps(weights.size() * kCodeGroupTokens),
        estimate(scale, first, {steps, weights, square_sums, fewest_steps}) {
    size_t begin = 0;
    float top = -std::numeric_limits<float>::infinity();
    while (begin < scores.size()) {
      const size_t count = step * kCodeGroupTokens - (begin == 0 ? first : 0);
      const std::span<const float> some =
          scores.subspan(begin, std::min(count, scores.size() - begin));
      top = std::max(top, *std::ranges::max_element(some));
      estimate.Add(some, top);
      begin += some.size();
    }
  }
  explicit Rest(const Tokens& tokens, size_t first = 0, size_t step = 1000)
      : Rest(tokens.approximate, kScale, first, step) {
    estimate.set_deviation(double{tokens.deviation});
  }

  // Tokens above the bar, by rising number.
  std::vector<uint32_t> Heavy(size_t bar) const {
    std::vector<uint32_t> tokens;
    estimate.ListHeavy(bar, 0, tokens);
    for (uint32_t& token : tokens) token -= static_cast<uint32_t>(first_place);
    return tokens;
  }

  size_t first_place;
  std::vector<float> weights;
  std::vector<float> square_sums;
  std::vector<uint8_t> fewest_steps;
  std::vector<uint8_t> steps;
  RestEstimate estimate;
};

// The most that rounding to steps makes of a weight.
constexpr double kRounding = 1.13;

struct Answer {
  std::vector<double> output;
  double log_sum_exp = 0;
  size_t attended = 0;
};

Answer Exact(const Tokens& tokens) {
  Answer answer{std::vector<double>(kDim), 0, tokens.count()};
  double sum = 0;
  for (size_t i = 0; i < tokens.count(); ++i) {
    sum += tokens.weight(i);
    for (size_t j = 0; j < kDim; ++j) {
      answer.output[j] += tokens.weight(i) * tokens.values[i * kDim + j];
    }
  }
  for (double& x : answer.output) x /= sum;
  answer.log_sum_exp = std::log(sum);
  return answer;
}

// Attends to what the bar asks for, estimates the rest and merges.
Answer Estimated(const Tokens& tokens, size_t first_place, double error) {
  Rest room(tokens, first_place);
  RestEstimate& rest = room.estimate;
  const size_t group_count = room.weights.size();
  const size_t bar =
      rest.RestBar({.error = error,
                    .value_deviation = std::sqrt(static_cast<double>(kDim)),
                    .attended_norm = 0,
                    .attended_log_sum_exp = -std::numeric_limits<double>::infinity()});
  const std::vector<uint32_t> heavy = room.Heavy(bar);
  std::vector<double> sum(kDim);
  double denominator = 0;
  std::vector<uint32_t> left_out;
  std::vector<double> means(group_count * kDim);
  std::vector<double> sizes(group_count);
  for (uint32_t i = 0; i < tokens.count(); ++i) {
    const size_t group = (first_place + i) / kCodeGroupTokens;
    ++sizes[group];
    for (size_t j = 0; j < kDim; ++j) means[group * kDim + j] += tokens.values[i * kDim + j];
    if (!std::ranges::binary_search(heavy, i)) continue;
    left_out.push_back(static_cast<uint32_t>(first_place) + i);
    denominator += tokens.weight(i);
    for (size_t j = 0; j < kDim; ++j) sum[j] += tokens.weight(i) * tokens.values[i * kDim + j];
  }
  rest.LeaveOut(left_out);
  double group_sum = 0;
  for (const float weight : rest.group_weights()) group_sum += double{weight};
  const double mass = std::exp(rest.log_sum_exp());
  for (size_t g = 0; g < group_count; ++g) {
    if (group_sum <= 0 || mass <= 0) break;
    const double share = double{rest.group_weights()[g]} / group_sum;
    for (size_t j = 0; j < kDim; ++j) sum[j] += mass * share * means[g * kDim + j] / sizes[g];
  }
  denominator += mass;
  for (double& x : sum) x /= denominator;
  return {sum, std::log(denominator), left_out.size()};
}

double RelativeError(const Answer& answer, const Answer& exact) {
  double difference = 0;
  double norm = 0;
  for (size_t j = 0; j < kDim; ++j) {
    difference += std::pow(answer.output[j] - exact.output[j], 2);
    norm += std::pow(exact.output[j], 2);
  }
  return std::sqrt(difference / norm);
}

struct RestCase {
  const char* name;
  size_t token_count;
  size_t first_place;
  double logit_deviation;
  double error;
};

class RestEstimateHeadsTest : public testing::TestWithParam<RestCase> {};

TEST_P(RestEstimateHeadsTest, KeepsTheErrorNearTheToleranceAndTheMassRight) {
  const RestCase& c = GetParam();
  double error_sum = 0;
  size_t attended = 0;
  constexpr int kRuns = 8;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    const Tokens tokens = MakeTokens(c.token_count, c.logit_deviation, 0.4, seed);
    const Answer exact = Exact(tokens);

    const Answer estimated = Estimated(tokens, c.first_place, c.error);

    error_sum += RelativeError(estimated, exact);
    attended += estimated.attended;
    EXPECT_NEAR(estimated.log_sum_exp, exact.log_sum_exp, 0.02 + 2 * c.error) << "seed " << seed;
  }
  // Weights have errors of their own, which the tolerance does not count.
  EXPECT_LE(error_sum / kRuns, 2 * c.error);
  if (c.logit_deviation >= 3) {
    EXPECT_LT(attended / kRuns, c.token_count / 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, RestEstimateHeadsTest,
                         testing::Values(RestCase{"Diffuse", 20000, 0, 1.5, 0.02},
                                         RestCase{"Typical", 20000, 0, 3.3, 0.01},
                                         RestCase{"Peaked", 20000, 47, 5, 0.01},
                                         RestCase{"Loose", 20000, 63, 3.3, 0.05},
                                         RestCase{"OneGroup", 50, 0, 2, 0.02},
                                         RestCase{"SmallFirstGroup", 200, 61, 2, 0.02}),
                         [](const auto& rest) { return rest.param.name; });

// Of long texts a sample of groups says where to look. Whatever it says, what stays below the bar
// is within the tolerance, and hardly less.
TEST(RestBarTest, IsAsHighAsTheToleranceAllows) {
  constexpr size_t kCount = 300 * kCodeGroupTokens + 7;
  for (const double deviation : {0.5, 2.0, 4.0}) {
    for (const size_t heavy_group_step : {1U, 8U, 400U}) {
      std::mt19937 random(5);
      std::normal_distribution<double> normal(0, deviation);
      std::vector<float> scores(kCount);
      for (size_t i = 0; i < kCount; ++i) {
        // Heavy tokens in every group, or where no sample looks, or as good as nowhere.
        const double lift = i / kCodeGroupTokens % heavy_group_step == 0 ? 4 * deviation : 0;
        scores[i] = static_cast<float>(normal(random) + (i % 16 == 0 ? lift : 0));
      }
      const Rest rest(scores, 1, 0);
      for (const double error : {0.01, 0.03, 0.1}) {
        const size_t bar = rest.estimate.RestBar(
            {.error = error,
             .value_deviation = 1,
             .attended_norm = 0,
             .attended_log_sum_exp = -std::numeric_limits<double>::infinity()});
        const auto squares_below = [&](size_t some_bar) {
          std::vector<float> below = scores;
          for (const uint32_t token : rest.Heavy(some_bar)) below[token] = -1e9F;
          double sum = 0;
          for (const float score : below) sum += std::exp(2 * double{score});
          return sum;
        };
        const double allowed = error * error * squares_below(0);
        EXPECT_LE(squares_below(bar), kRounding * kRounding * allowed) << deviation << " " << error;
        ASSERT_GT(bar, 0U);
        EXPECT_GE(squares_below(bar - 1), allowed / kRounding / kRounding)
            << deviation << " " << error;
      }
    }
  }
}

TEST(RestBarTest, NothingNeedsAttentionBesideSomethingFarHeavier) {
  const Tokens tokens = MakeTokens(1000, 2, 0.1, /*seed=*/1);
  const Rest room(tokens);

  EXPECT_EQ(room.estimate.RestBar({.error = 0.01,
                                   .value_deviation = 1,
                                   .attended_norm = 1,
                                   .attended_log_sum_exp = double{kScale * tokens.top()} + 20}),
            0U);
}

TEST(RestBarTest, EqualValuesNeedNoTokenOfTheirOwn) {
  const Tokens tokens = MakeTokens(1000, 2, 0.1, /*seed=*/1);
  const Rest room(tokens);

  EXPECT_EQ(room.estimate.RestBar({.error = 0.01, .value_deviation = 0}), 0U);
}

TEST(MassBarTest, LeavesAsMuchWeightBelowItAsIsAllowed) {
  for (const double deviation : {0.5, 2.0, 5.0}) {
    const Tokens tokens = MakeTokens(5000, deviation, 0.1, /*seed=*/3);
    const Rest room(tokens, 24);
    const auto below = [&](size_t bar) {
      double sum = 0;
      const std::vector<uint32_t> heavy = room.Heavy(bar);
      for (uint32_t i = 0; i < tokens.count(); ++i) {
        if (std::ranges::binary_search(heavy, i)) continue;
        sum += std::exp(double{kScale} * (double{tokens.approximate[i]} - double{tokens.top()}));
      }
      return sum;
    };
    for (const double share : {0.5, 0.1, 0.001}) {
      const size_t bar = room.estimate.MassBar(share);

      ASSERT_GT(bar, 0U);
      EXPECT_LE(below(bar), kRounding * share * below(0));
      EXPECT_GT(below(bar - 1), share * below(0) / kRounding);
    }
  }
}

TEST(RestEstimateTest, ScoresMayComeInPieces) {
  const Tokens tokens = MakeTokens(5000, 4, 0.1, /*seed=*/2);
  const Rest at_once(tokens, 24);
  for (const size_t step : {1U, 3U, 17U}) {
    const Rest in_pieces(tokens, 24, step);

    // What an octave's score rounds may move a few tokens a step.
    EXPECT_NEAR(in_pieces.estimate.log_sum_exp(), at_once.estimate.log_sum_exp(), 1e-3);
    size_t moved = 0;
    for (size_t i = 0; i < at_once.steps.size(); ++i) {
      EXPECT_NEAR(in_pieces.steps[i], at_once.steps[i], 1) << i;
      moved += static_cast<size_t>(in_pieces.steps[i] != at_once.steps[i]);
    }
    EXPECT_LE(moved, 10U);
    for (size_t g = 0; g < at_once.weights.size(); ++g) {
      EXPECT_NEAR(in_pieces.weights[g], at_once.weights[g], 0.13F * at_once.weights[g]) << g;
      EXPECT_LE(in_pieces.fewest_steps[g], at_once.fewest_steps[g] + 1) << g;
    }
    for (const double error : {0.01, 0.1}) {
      const RestTolerance tolerance = {
          .error = error,
          .value_deviation = 1,
          .attended_norm = 0,
          .attended_log_sum_exp = -std::numeric_limits<double>::infinity()};
      EXPECT_NEAR(static_cast<double>(in_pieces.estimate.RestBar(tolerance)),
                  static_cast<double>(at_once.estimate.RestBar(tolerance)), 1);
    }
  }
}

TEST(RestEstimateTest, ListsWhatIsAboveABar) {
  const Tokens tokens = MakeTokens(5000, 4, 0.1, /*seed=*/2);
  for (const size_t first_place : {0U, 24U, 63U}) {
    const Rest rest(tokens, first_place, /*step=*/5);
    for (const size_t bar : {size_t{0}, size_t{3}, size_t{50}, kStepCount}) {
      std::vector<uint32_t> expected = {7};
      for (size_t place = 0; place < rest.steps.size(); ++place) {
        if (rest.steps[place] < bar) expected.push_back(static_cast<uint32_t>(100 + place));
      }
      std::vector<uint32_t> listed = {7};

      rest.estimate.ListHeavy(bar, 100, listed);

      EXPECT_EQ(listed, expected);
    }
  }
}

// A token far above all before it leaves these without weight, and one far below has none.
TEST(RestEstimateTest, WeighsAgainstTheHighestScoreOfAll) {
  std::vector<float> scores(3 * kCodeGroupTokens, 0);
  scores[70] = 200;
  scores[150] = -1e30F;
  Rest rest(scores, 1, 0, /*step=*/1);

  EXPECT_NEAR(rest.estimate.log_sum_exp(), 200, 0.07);
  EXPECT_EQ(rest.Heavy(kStepCount), std::vector<uint32_t>{70});
  rest.estimate.LeaveOut(std::vector<uint32_t>{70});
  EXPECT_LT(rest.estimate.log_sum_exp(), 200 - 29);
}

TEST(RestEstimateMassTest, IsNothingWhenEveryTokenIsLeftOut) {
  const Tokens tokens = MakeTokens(130, 4, 0.1, /*seed=*/3);
  Rest room(tokens, 54);
  RestEstimate& rest = room.estimate;
  const double total = rest.log_sum_exp();

  std::vector<uint32_t> all(tokens.count());
  std::iota(all.begin(), all.end(), 54U);
  rest.LeaveOut(all);

  EXPECT_LT(rest.log_sum_exp(), total - 12);
}

}  // namespace
}  // namespace alaya
