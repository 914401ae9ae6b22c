#include "index/part_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/sequence_fixture.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Parts of 50 and 30 tokens with an index, and a tail of 20.
class PartSearchTest : public testing::Test {
 protected:
  PartSearchTest()
      : sequence_({.part_tokens = {50, 30, 20}}, /*seed=*/1),
        query_(RandomFloats(64, 1.0F, /*seed=*/2)),
        best_scores_{-kInfinity} {
    task_.queries = {query_.data(), 1, 64};
    task_.visible = {&visible_, 1};
    task_.parts = sequence_.parts();
    task_.target = DiprTarget{0.5};
  }

  double BestScore(TokenRange range) const {
    double best = -std::numeric_limits<double>::infinity();
    for (uint64_t token = range.begin; token < range.end; ++token) {
      best = std::max(best, sequence_.Score(query_, token));
    }
    return best;
  }

  TestSequence sequence_;
  std::vector<float> query_;
  TokenRange visible_ = {0, 100};
  PartSearchTask task_;
  std::vector<float> best_scores_;
};

TEST_F(PartSearchTest, PositionsInAPartCountFromItsBegin) {
  const SequencePart& part = sequence_.parts()[1];

  EXPECT_EQ(InPart({0, 100}, part), (TokenRange{0, 30}));
  EXPECT_EQ(InPart({60, 70}, part), (TokenRange{10, 20}));
  EXPECT_EQ(InPart({79, 200}, part), (TokenRange{29, 30}));
  for (const TokenRange apart : {TokenRange{0, 50}, TokenRange{80, 100}, TokenRange{60, 60}}) {
    EXPECT_TRUE(InPart(apart, part).empty());
  }
}

TEST_F(PartSearchTest, PartsWithoutAnIndexAreLeftOutUnlessAskedFor) {
  const auto indexed = SearchParts(task_, best_scores_);
  task_.scan_unindexed = true;
  const auto all = SearchParts(task_, best_scores_);

  ASSERT_TRUE(indexed.ok() && all.ok());
  EXPECT_EQ(indexed->parts.size(), 3U);
  EXPECT_TRUE(indexed->parts[2].queries.empty());
  EXPECT_EQ(indexed->tokens_scored, 80U);
  EXPECT_EQ(all->parts[2].queries.size(), 1U);
  EXPECT_EQ(all->tokens_scored, 100U);
}

TEST_F(PartSearchTest, APartThatNoQuerySeesIsNotRead) {
  visible_ = {10, 50};

  const auto found = SearchParts(task_, best_scores_);

  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(sequence_.reader(1).was_read(KvKind::kKey, 0));
  EXPECT_TRUE(found->parts[1].queries.empty());
}

TEST_F(PartSearchTest, EachPartRaisesTheBarOfTheNext) {
  const auto found = SearchParts(task_, best_scores_);

  ASSERT_TRUE(found.ok());
  const double best = BestScore({0, 80});
  EXPECT_NEAR(best_scores_[0], best, 1e-4);
  const double bar = best - DiprTarget{0.5}.beta(1.0);
  for (const ScoredToken& token : found->parts[1].queries[0].tokens) {
    EXPECT_GE(double{token.score}, bar - 1e-4);
  }
}

TEST_F(PartSearchTest, KnownScoresRaiseTheBarOfAll) {
  best_scores_[0] = static_cast<float>(BestScore({0, 80})) + 100;

  const auto found = SearchParts(task_, best_scores_);

  ASSERT_TRUE(found.ok());
  for (const size_t p : std::vector<size_t>{0, 1}) {
    EXPECT_TRUE(found->parts[p].queries[0].tokens.empty());
  }
}

TEST_F(PartSearchTest, TheMassIsOverAllPartsThatWereSearched) {
  task_.want_mass = true;
  task_.scale = 0.125F;

  const auto found = SearchParts(task_, best_scores_);

  ASSERT_TRUE(found.ok());
  double mass = 0;
  for (uint64_t token = 0; token < 80; ++token) {
    mass += std::exp(0.125 * sequence_.Score(query_, token));
  }
  EXPECT_NEAR(found->log_sum_exp(0), std::log(mass), 1e-4);
}

TEST_F(PartSearchTest, AnErrorOfAnyPartIsTheAnswer) {
  sequence_.reader(1).FailAt(KvKind::kKey, 1);

  EXPECT_EQ(SearchParts(task_, best_scores_).status().code(), StatusCode::kDataLoss);
}

TEST(SearchSlabQueriesTest, FewerQueriesShareASlabTheMoreTheySee) {
  const auto slab = [](uint64_t most) {
    const std::vector<TokenRange> visible = {{0, 1}, {0, most}};
    return SearchSlabQueries(visible);
  };

  EXPECT_EQ(slab(0), slab(1));
  EXPECT_GT(slab(1), slab(1 << 20));
  EXPECT_GT(slab(1 << 20), slab(uint64_t{1} << 40));
  EXPECT_GE(slab(uint64_t{1} << 40), 1U);
}

}  // namespace
}  // namespace alaya
