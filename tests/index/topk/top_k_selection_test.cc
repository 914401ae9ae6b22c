// Cutting a segment's tokens; the choice among a whole sequence's stands in
// tests/index/selection_test.cc.

#include "index/topk/top_k_selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace alaya {
namespace {

// Few distinct scores, so that many are equal; in no order.
std::vector<ScoredToken> Tokens(size_t count) {
  std::mt19937 random(/*seed=*/1);
  std::vector<ScoredToken> tokens(count);
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = {static_cast<uint32_t>(i), static_cast<float>(random() % 10) * 0.25F};
  }
  std::ranges::shuffle(tokens, random);
  return tokens;
}

TEST(DropAllButTopKTest, LeavesTheBestAndOfEqualsTheEarlierTheLastOfThemAtTheBack) {
  for (size_t k = 1; k < 100; ++k) {
    std::vector<ScoredToken> tokens = Tokens(100);
    std::vector<ScoredToken> expected = tokens;
    std::ranges::sort(expected, RanksBefore<ScoredToken>);
    expected.resize(k);

    ASSERT_TRUE(DropAllButTopK(k, &tokens)) << k;

    EXPECT_EQ(tokens.back(), expected.back()) << k;
    std::ranges::sort(tokens, RanksBefore<ScoredToken>);
    EXPECT_EQ(tokens, expected) << k;
  }
}

TEST(DropAllButTopKTest, MovesNothingIfThereAreNoMoreThanK) {
  for (const size_t count : std::vector<size_t>{0, 1, 7}) {
    const std::vector<ScoredToken> original = Tokens(count);
    std::vector<ScoredToken> tokens = original;

    EXPECT_FALSE(DropAllButTopK(std::max<size_t>(count, 1), &tokens));
    EXPECT_FALSE(DropAllButTopK(count + 1, &tokens));

    EXPECT_EQ(tokens, original);
  }
}

}  // namespace
}  // namespace alaya
