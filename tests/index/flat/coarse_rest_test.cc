#include "index/flat/coarse_rest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace alaya {
namespace {

constexpr size_t kGroups = 40;
constexpr size_t kTokens = kGroups * kCodeGroupTokens;
constexpr float kScale = 0.5F;
// Of length 3 with 64 elements.
const std::vector<RestQuery> kOneQuery = {{{0, kTokens}, 3, 0.375}};

// Scans all groups at once; square sums are those given, weights their roots.
void Scan(CoarseRest& rest, const std::vector<std::vector<float>>& square_sums, float best = 10) {
  const std::vector<float> bests(square_sums.size(), best);
  const auto weighing = rest.Weighing({0, kTokens}, bests);
  ASSERT_EQ(weighing.size(), square_sums.size());
  for (size_t q = 0; q < square_sums.size(); ++q) {
    ASSERT_EQ(weighing[q].weights.size(), square_sums[q].size());
    std::ranges::copy(square_sums[q], weighing[q].square_sums.begin());
    std::ranges::transform(square_sums[q], weighing[q].weights.begin(),
                           [](float square) { return std::sqrt(square); });
  }
}

std::vector<float> Falling(float first) {
  std::vector<float> squares(kGroups);
  for (size_t g = 0; g < kGroups; ++g) squares[g] = first / static_cast<float>(1 + g * g);
  return squares;
}

TEST(CoarseRestTest, WhatStaysClosedIsWithinTheShare) {
  for (const double share : {0.01, 0.1, 0.3, 0.9}) {
    for (const double attended : {0.0, 10.0}) {
      CoarseRest rest(kTokens, kScale, kOneQuery);
      const std::vector<float> squares = Falling(1);
      Scan(rest, {squares});

      rest.Open(0, share, attended, /*error=*/2);
      rest.Settle();

      const double total = std::accumulate(squares.begin(), squares.end(), 0.0);
      // Errors deviate by 0.5 * 3 * 2 / 8 nats.
      const double allowed =
          share * share * (attended + total / std::exp(std::pow(0.5 * 3 * 2 / 8, 2)));
      double closed = 0;
      float largest_closed = 0;
      float smallest_open = std::numeric_limits<float>::infinity();
      for (size_t g = 0; g < kGroups; ++g) {
        const bool is_open = std::ranges::binary_search(rest.open_groups(), g);
        EXPECT_EQ(rest.weights(0)[g], is_open ? 0 : std::sqrt(squares[g]));
        if (is_open) {
          smallest_open = std::min(smallest_open, squares[g]);
        } else {
          closed += double{squares[g]};
          largest_closed = std::max(largest_closed, squares[g]);
        }
      }
      EXPECT_LE(closed, allowed * (1 + 1e-6));
      EXPECT_GE(smallest_open, largest_closed);
      // No more are opened than to an eighth of a power of two.
      if (!rest.open_groups().empty()) {
        EXPECT_GT(closed + 2 * double{smallest_open}, allowed);
      }
    }
  }
}

TEST(CoarseRestTest, GroupsThatAQuerySeesInPartAreOpen) {
  const std::vector<RestQuery> queries = {
      {{100, 64 * 20 + 1}, 3, 0.375}, {{64, 128}, 3, 0.375}, {{5, 5}, 3, 0.375}};
  CoarseRest rest(kTokens, kScale, queries);
  Scan(rest, {Falling(1), Falling(1), Falling(1)});
  for (size_t q = 0; q < 3; ++q) rest.Open(q, 0.5, /*attended=*/1e9, 2);
  rest.Settle();

  EXPECT_EQ(std::vector<uint32_t>(rest.open_groups().begin(), rest.open_groups().end()),
            (std::vector<uint32_t>{1, 20}));
  EXPECT_EQ(rest.weights(0)[0], 0) << "the query does not see it";
  EXPECT_GT(rest.weights(0)[2], 0);
  EXPECT_GT(rest.weights(0)[19], 0);
  EXPECT_EQ(rest.weights(0)[21], 0);
  EXPECT_EQ(rest.weight_sum(1), 0) << "its only group is open for another query";
  EXPECT_EQ(rest.weight_sum(2), 0);
  const auto weights = rest.weights(0);
  EXPECT_NEAR(rest.weight_sum(0), std::accumulate(weights.begin(), weights.end(), 0.0), 1e-9);
}

TEST(CoarseRestTest, WhatIsNotFiniteIsOpen) {
  CoarseRest rest(kTokens, kScale, kOneQuery);
  std::vector<float> squares = Falling(1);
  squares[30] = std::numeric_limits<float>::infinity();
  Scan(rest, {squares});
  rest.Open(0, 0.9, 1e3, 2);
  rest.Settle();
  EXPECT_TRUE(std::ranges::binary_search(rest.open_groups(), 30U));
}

TEST(CoarseRestTest, AWeightOfOneIsThatOfTheFirstBest) {
  CoarseRest rest(kTokens, kScale, kOneQuery);
  Scan(rest, {Falling(1)}, /*best=*/10);
  Scan(rest, {Falling(1)}, /*best=*/20);
  EXPECT_DOUBLE_EQ(rest.LogOfWeightOne(0), 5);
  // Errors of e deviate by 0.5 * 3 * e / 8 nats.
  const std::vector<float> bests = {0};
  EXPECT_NEAR(rest.Weighing({0, 64}, bests)[0].error_nats, std::pow(0.5 * 3 / 8, 2) / 2, 1e-6);
  EXPECT_EQ(rest.Weighing({0, 64}, bests)[0].top, 10);
}

}  // namespace
}  // namespace alaya
