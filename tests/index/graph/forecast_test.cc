#include "index/graph/forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "index/selection.h"
#include "tests/index/damageable_index_blocks.h"
#include "tests/index/graph/anchor_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 24;
constexpr size_t kTokens = 12'000;

class ForecastTest : public testing::Test {
 protected:
  ForecastTest() {
    EXPECT_TRUE(WriteAnchorBlocks(scores_, blocks_.Sink()).ok());
    header_ = *ReadAnchorHeader(blocks_, 0);
  }

  StatusOr<std::vector<std::vector<ScoredToken>>> Forecast(std::span<const float> queries,
                                                           std::span<const TokenRange> visible,
                                                           std::span<const size_t> counts) {
    return ForecastBest(header_, scores_.weights, blocks_,
                        {queries.data(), queries.size() / kHeadDim, kHeadDim}, visible, counts);
  }

  // By definition, in double, of the visible tokens that are listed, the best first.
  std::vector<ScoredToken> Expected(std::span<const float> query, TokenRange visible) const {
    std::vector<ScoredToken> all;
    for (size_t t = visible.begin; t < std::min<size_t>(visible.end, kTokens); ++t) {
      if (scores_.of(t).empty()) continue;
      std::vector<double> of_anchor(scores_.lowest.begin(), scores_.lowest.end());
      for (const AnchorLevel& level : scores_.of(t)) {
        of_anchor[level.anchor] += double{scores_.step[level.anchor]} * level.level;
      }
      double sum = 0;
      for (size_t a = 0; a < of_anchor.size(); ++a) {
        double weight = 0;
        for (size_t e = 0; e < kHeadDim; ++e) {
          weight += double{scores_.weights[a * kHeadDim + e]} * double{query[e]};
        }
        sum += weight * of_anchor[a];
      }
      all.push_back({static_cast<uint32_t>(t), static_cast<float>(sum)});
    }
    std::ranges::sort(all, RanksBefore<ScoredToken>);
    return all;
  }

  const AnchorScores scores_ =
      RandomAnchorScores(kTokens, /*anchor_count=*/40, kHeadDim, /*listed_interval=*/1, 3);
  DamageableIndexBlocks blocks_;
  AnchorHeader header_;
  // More than fit one vector, and some left over.
  const std::vector<float> queries_ = RandomFloats(6 * kHeadDim, 1.0F, /*seed=*/4);
};

TEST_F(ForecastTest, AllListedTokensHaveTheScoreOfTheirMixture) {
  const std::vector<TokenRange> visible = {{0, kTokens}, {0, 10},        {700, 701},
                                           {5, 5},       {100, kTokens}, {0, 1'000'000}};
  const std::vector<size_t> counts(6, kTokens);

  const auto found = Forecast(queries_, visible, counts);

  ASSERT_TRUE(found.ok()) << found.status();
  for (size_t q = 0; q < 6; ++q) {
    const auto query = std::span(queries_).subspan(q * kHeadDim, kHeadDim);
    std::vector<ScoredToken> mine = (*found)[q];
    std::vector<ScoredToken> expected = Expected(query, visible[q]);
    std::ranges::sort(mine, {}, &ScoredToken::token);
    std::ranges::sort(expected, {}, &ScoredToken::token);
    ASSERT_EQ(mine.size(), expected.size());
    for (size_t i = 0; i < mine.size(); ++i) {
      EXPECT_EQ(mine[i].token, expected[i].token);
      // A sum of 40 products of about 100.
      EXPECT_NEAR(mine[i].score, expected[i].score, 0.05);
    }
  }
}

TEST_F(ForecastTest, TheBestAreAmongThoseTaken) {
  const std::vector<TokenRange> visible(6, {0, kTokens});
  const std::vector<size_t> counts = {1, 10, 100, 500, 1000, 0};

  const auto found = Forecast(queries_, visible, counts);

  ASSERT_TRUE(found.ok());
  for (size_t q = 0; q < 6; ++q) {
    EXPECT_LE((*found)[q].size(), counts[q]);
    EXPECT_GE((*found)[q].size(), counts[q] / 2) << "the bar is a guess, but no bad one";
    const auto expected = Expected(std::span(queries_).subspan(q * kHeadDim, kHeadDim), visible[q]);
    for (size_t i = 0; i < (*found)[q].size() / 2; ++i) {
      const float score = expected[i].score;
      EXPECT_TRUE(std::ranges::any_of((*found)[q], [&](const ScoredToken& token) {
        return std::fabs(token.score - score) < 0.05F;
      })) << i;
    }
  }
}

TEST_F(ForecastTest, HugeQueriesGiveNoForecastsThatAreNoNumbers) {
  std::vector<float> huge(kHeadDim, std::numeric_limits<float>::max());
  for (size_t e = 0; e < kHeadDim; e += 2) huge[e] = -huge[e];
  const std::vector<TokenRange> visible(1, {0, kTokens});
  const std::vector<size_t> counts(1, 100);

  const auto found = Forecast(huge, visible, counts);

  ASSERT_TRUE(found.ok());
  for (const ScoredToken& token : (*found)[0]) EXPECT_TRUE(std::isfinite(token.score));
}

TEST_F(ForecastTest, WithoutAnchorsThereAreNone) {
  DamageableIndexBlocks blocks;
  const AnchorScores none = RandomAnchorScores(kTokens, 0, kHeadDim, 1, /*seed=*/5);
  ASSERT_TRUE(WriteAnchorBlocks(none, blocks.Sink()).ok());
  const auto header = ReadAnchorHeader(blocks, 0);
  ASSERT_TRUE(header.ok());
  const std::vector<TokenRange> visible(6, {0, kTokens});
  const std::vector<size_t> counts(6, 100);

  const auto found =
      ForecastBest(*header, {}, blocks, {queries_.data(), 6, kHeadDim}, visible, counts);

  ASSERT_TRUE(found.ok());
  for (const auto& query : *found) EXPECT_TRUE(query.empty());
}

TEST_F(ForecastTest, OnlyBlocksWithVisibleTokensAreRead) {
  const std::vector<float> query(queries_.begin(), queries_.begin() + kHeadDim);
  ASSERT_GE(header_.first_token.size(), 2);
  const std::vector<size_t> counts(1, 100);
  blocks_.FailAt(header_.score_block(header_.first_token.size() - 1));

  const std::vector<TokenRange> first(1, {0, header_.first_token.back()});
  EXPECT_TRUE(Forecast(query, first, counts).ok());
  const std::vector<TokenRange> all(1, {0, kTokens});
  EXPECT_EQ(Forecast(query, all, counts).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
