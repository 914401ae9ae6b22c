// What an estimate of the rest promises: the error of the whole output stays near the
// given share of its norm, and the mass is right.

#include "index/flat/rest_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
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

// An estimate with room for its groups. Scores come `step` groups at a time.
struct Rest {
  Rest(const Tokens& tokens, size_t first_group_tokens, size_t step = 1000)
      : weights(1 +
                (tokens.count() - std::min(tokens.count(), first_group_tokens) + kGroupTokens - 1) /
                    kGroupTokens),
        square_sums(weights.size()),
        tops(weights.size()),
        estimate({.scores = tokens.approximate,
                  .first_group_tokens = first_group_tokens,
                  .scale = kScale},
                 {weights, square_sums, tops}) {
    size_t begin = 0;
    float top = -std::numeric_limits<float>::infinity();
    while (begin < tokens.count()) {
      const size_t groups =
          begin == 0 ? first_group_tokens + (step - 1) * kGroupTokens : step * kGroupTokens;
      const size_t end = std::min(begin + groups, tokens.count());
      for (size_t i = begin; i < end; ++i) top = std::max(top, tokens.approximate[i]);
      estimate.Add(end - begin, top);
      begin = end;
    }
    estimate.set_deviation(double{tokens.deviation});
  }
  std::vector<float> weights;
  std::vector<float> square_sums;
  std::vector<float> tops;
  RestEstimate estimate;
};

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
Answer Estimated(const Tokens& tokens, size_t first_group_tokens, double error) {
  Rest room(tokens, first_group_tokens);
  RestEstimate& rest = room.estimate;
  const size_t group_count = room.weights.size();
  const float bar =
      rest.RestBar({.error = error,
                    .value_deviation = std::sqrt(static_cast<double>(kDim)),
                    .attended_norm = 0,
                    .attended_log_sum_exp = -std::numeric_limits<double>::infinity()});
  std::vector<double> sum(kDim);
  double denominator = 0;
  std::vector<uint32_t> left_out;
  std::vector<double> means(group_count * kDim);
  std::vector<double> sizes(group_count);
  for (size_t i = 0; i < tokens.count(); ++i) {
    const size_t group = i < first_group_tokens ? 0 : 1 + (i - first_group_tokens) / kGroupTokens;
    ++sizes[group];
    for (size_t j = 0; j < kDim; ++j) means[group * kDim + j] += tokens.values[i * kDim + j];
    if (tokens.approximate[i] < bar) continue;
    left_out.push_back(static_cast<uint32_t>(i));
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
  size_t first_group_tokens;
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

    const Answer estimated = Estimated(tokens, c.first_group_tokens, c.error);

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
                         testing::Values(RestCase{"Diffuse", 20000, 64, 1.5, 0.02},
                                         RestCase{"Typical", 20000, 64, 3.3, 0.01},
                                         RestCase{"Peaked", 20000, 17, 5, 0.01},
                                         RestCase{"Loose", 20000, 1, 3.3, 0.05},
                                         RestCase{"OneGroup", 50, 64, 2, 0.02},
                                         RestCase{"SmallFirstGroup", 200, 3, 2, 0.02}),
                         [](const auto& rest) { return rest.param.name; });

// Of long texts a sample of groups says where to look. Whatever it says, what stays below the bar
// is within the tolerance, and hardly less.
TEST(RestBarTest, IsAsHighAsTheToleranceAllows) {
  constexpr size_t kCount = 300 * kGroupTokens + 7;
  for (const double deviation : {0.5, 2.0, 4.0}) {
    for (const size_t heavy_group_step : {1U, 8U, 400U}) {
      std::mt19937 random(5);
      std::normal_distribution<double> normal(0, deviation);
      std::vector<float> scores(kCount);
      for (size_t i = 0; i < kCount; ++i) {
        // Heavy tokens in every group, or where no sample looks, or as good as nowhere.
        const double lift = i / kGroupTokens % heavy_group_step == 0 ? 4 * deviation : 0;
        scores[i] = static_cast<float>(normal(random) + (i % 16 == 0 ? lift : 0));
      }
      std::vector<float> weights(301);
      std::vector<float> square_sums(301);
      std::vector<float> tops(301);
      RestEstimate estimate({.scores = scores, .first_group_tokens = kGroupTokens, .scale = 1},
                            {weights, square_sums, tops});
      estimate.Add(kCount, *std::ranges::max_element(scores));
      for (const double error : {0.01, 0.03, 0.1}) {
        const float bar =
            estimate.RestBar({.error = error,
                              .value_deviation = 1,
                              .attended_norm = 0,
                              .attended_log_sum_exp = -std::numeric_limits<double>::infinity()});
        double total = 0;
        double below = 0;
        double below_higher = 0;  // a bar that is two steps higher
        for (const float score : scores) {
          const double square = std::exp(2 * double{score});
          total += square;
          if (score < bar) below += square;
          if (score < bar + 0.25F) below_higher += square;
        }
        EXPECT_LE(below, 1.01 * error * error * total) << deviation << " " << error;
        EXPECT_GE(below_higher, 0.99 * error * error * total) << deviation << " " << error;
      }
    }
  }
}

TEST(RestBarTest, NothingNeedsAttentionBesideSomethingFarHeavier) {
  const Tokens tokens = MakeTokens(1000, 2, 0.1, /*seed=*/1);
  Rest room(tokens, 64);
  RestEstimate& rest = room.estimate;

  const float bar = rest.RestBar({.error = 0.01,
                                  .value_deviation = 1,
                                  .attended_norm = 1,
                                  .attended_log_sum_exp = double{kScale * tokens.top()} + 20});

  EXPECT_EQ(bar, std::numeric_limits<float>::infinity());
}

TEST(RestBarTest, EqualValuesNeedNoTokenOfTheirOwn) {
  const Tokens tokens = MakeTokens(1000, 2, 0.1, /*seed=*/1);
  Rest room(tokens, 64);
  RestEstimate& rest = room.estimate;

  EXPECT_EQ(rest.RestBar({.error = 0.01, .value_deviation = 0}),
            std::numeric_limits<float>::infinity());
}

TEST(MassBarTest, LeavesAsMuchWeightBelowItAsIsAllowed) {
  for (const double deviation : {0.5, 2.0, 5.0}) {
    const Tokens tokens = MakeTokens(5000, deviation, 0.1, /*seed=*/3);
    Rest room(tokens, 40);
    for (const double share : {0.5, 0.1, 0.001}) {
      const float bar = room.estimate.MassBar(share);

      double total = 0;
      double below = 0;
      double lower = 0;  // below a bar that is a quarter of a nat higher
      for (const float score : tokens.approximate) {
        const double weight = std::exp(double{kScale} * (double{score} - double{tokens.top()}));
        total += weight;
        if (score < bar) below += weight;
        if (score < bar + 0.25F / kScale) lower += weight;
      }
      EXPECT_LE(below, 1.001 * share * total);
      EXPECT_GT(lower, 0.999 * share * total);
    }
  }
}

TEST(RestEstimateTest, ScoresMayComeInPieces) {
  const Tokens tokens = MakeTokens(5000, 4, 0.1, /*seed=*/2);
  Rest at_once(tokens, 40);
  for (const size_t step : {1U, 3U, 17U}) {
    Rest in_pieces(tokens, 40, step);

    EXPECT_NEAR(in_pieces.estimate.log_sum_exp(), at_once.estimate.log_sum_exp(), 1e-4);
    EXPECT_EQ(in_pieces.tops, at_once.tops);
    for (size_t g = 0; g < at_once.weights.size(); ++g) {
      EXPECT_NEAR(in_pieces.weights[g], at_once.weights[g], 2e-4 * at_once.weights[g]) << g;
    }
    for (const double error : {0.01, 0.1}) {
      const RestTolerance tolerance = {
          .error = error,
          .value_deviation = 1,
          .attended_norm = 0,
          .attended_log_sum_exp = -std::numeric_limits<double>::infinity()};
      EXPECT_EQ(in_pieces.estimate.RestBar(tolerance), at_once.estimate.RestBar(tolerance));
    }
  }
}

TEST(RestEstimateTest, ListsWhatReachesABar) {
  const Tokens tokens = MakeTokens(5000, 4, 0.1, /*seed=*/2);
  for (const size_t first_group_tokens : {1U, 40U, 64U}) {
    for (const bool looked : {false, true}) {
      Rest rest(tokens, first_group_tokens, /*step=*/5);
      if (looked) {
        ASSERT_LT(rest.estimate.RestBar({.error = 0.05, .value_deviation = 1}), tokens.top());
      }
      for (const float bar : {-1000.0F, 0.0F, 30.0F, tokens.top(), tokens.top() + 1}) {
        std::vector<uint32_t> expected = {7};
        for (size_t i = 0; i < tokens.count(); ++i) {
          if (tokens.approximate[i] >= bar) expected.push_back(static_cast<uint32_t>(100 + i));
        }
        std::vector<uint32_t> listed = {7};

        rest.estimate.ListFrom(bar, 100, listed);

        EXPECT_EQ(listed, expected);
      }
    }
  }
}

TEST(RestEstimateMassTest, IsNothingWhenEveryTokenIsLeftOut) {
  const Tokens tokens = MakeTokens(130, 4, 0.1, /*seed=*/3);
  Rest room(tokens, 10);
  RestEstimate& rest = room.estimate;
  const double total = rest.log_sum_exp();

  std::vector<uint32_t> all(tokens.count());
  std::iota(all.begin(), all.end(), 0U);
  rest.LeaveOut(all);

  EXPECT_LT(rest.log_sum_exp(), total - 12);
}

}  // namespace
}  // namespace alaya
