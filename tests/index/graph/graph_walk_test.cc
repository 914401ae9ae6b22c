#include "index/graph/graph_walk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace alaya {
namespace {

// A graph and scores as a test writes them down; remembers what was scored.
class TableAccess : public GraphAccess {
 public:
  TableAccess(std::vector<std::vector<uint32_t>> neighbors, std::vector<float> scores)
      : neighbors_(std::move(neighbors)), scores_(std::move(scores)) {}

  StatusOr<std::span<const uint32_t>> Neighbors(uint32_t token) override {
    if (token == failing_) return DataLoss("a damaged block");
    return std::span<const uint32_t>(neighbors_[token]);
  }
  Status Score(std::span<const uint32_t> tokens, std::span<float> scores) override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_TRUE(scored_.insert(tokens[i]).second) << tokens[i] << " is scored twice";
      scores[i] = scores_[tokens[i]];
    }
    return OkStatus();
  }

  void FailAt(uint32_t token) { failing_ = token; }
  const std::set<uint32_t>& scored() const { return scored_; }
  size_t size() const { return scores_.size(); }

 private:
  std::vector<std::vector<uint32_t>> neighbors_;
  std::vector<float> scores_;
  std::set<uint32_t> scored_;
  uint32_t failing_ = UINT32_MAX;
};

// 0 - 1 - 2 - ... : each token is the neighbour of the one before and the one after.
TableAccess Path(std::vector<float> scores) {
  std::vector<std::vector<uint32_t>> neighbors(scores.size());
  for (uint32_t i = 0; i + 1 < scores.size(); ++i) {
    neighbors[i].push_back(i + 1);
    neighbors[i + 1].push_back(i);
  }
  return {neighbors, std::move(scores)};
}

class GraphWalkTest : public testing::Test {
 protected:
  GraphWalkTest() { options_.beam_width = 1; }

  StatusOr<GraphWalk> Walk(TableAccess& access) {
    options_.node_count = access.size();
    if (options_.visible.empty()) options_.visible = {0, access.size()};
    options_.entries = entries_;
    return WalkGraph(options_, access);
  }
  static std::set<uint32_t> Tokens(const GraphWalk& walk) {
    std::set<uint32_t> tokens;
    for (const ScoredToken& token : walk.found) tokens.insert(token.token);
    return tokens;
  }

  GraphWalkOptions options_;
  std::vector<uint32_t> entries_ = {0};
};

TEST_F(GraphWalkTest, ClimbsTowardsHighScores) {
  TableAccess access = Path({1, 2, 3, 4, 3, 2, 1, 0});

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(walk->best_score, 4);
  EXPECT_TRUE(Tokens(*walk).contains(3));
  EXPECT_FALSE(access.scored().contains(5)) << "the beam of one ends behind the top";
  EXPECT_EQ(walk->tokens_scored, access.scored().size());
}

TEST_F(GraphWalkTest, VisitsEverythingInRangeWhateverTheBeam) {
  TableAccess access = Path({10, 9, 8, 10, 8, 9, 2, 10});
  options_.beta = 2;

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  // 6 is out of range: what lies behind it is not found.
  EXPECT_EQ(Tokens(*walk), (std::set<uint32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(access.scored(), (std::set<uint32_t>{0, 1, 2, 3, 4, 5, 6}));
}

TEST_F(GraphWalkTest, ABestScoreFromElsewhereNarrowsTheRange) {
  TableAccess access = Path({10, 9, 8, 10, 8, 9, 2, 10});
  options_.beta = 2;
  options_.best_score = 11.5;

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(walk->best_score, 10) << "of what was met";
  EXPECT_FALSE(access.scored().contains(3)) << "behind 2, which is out of range";
}

TEST_F(GraphWalkTest, AWideBeamCrossesAValley) {
  TableAccess access = Path({5, 1, 1, 1, 9});
  options_.beam_width = 4;

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(walk->best_score, 9);
}

TEST_F(GraphWalkTest, PassesThroughHiddenTokensWithoutScoringThem) {
  TableAccess access({{1, 2}, {0}, {0, 3, 4}, {2}, {2}}, {1, 1, 100, 3, 4});
  options_.visible = {3, 5};
  entries_ = {3};

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(Tokens(*walk), (std::set<uint32_t>{3, 4})) << "from 3 through 2 to 4";
  EXPECT_EQ(access.scored(), (std::set<uint32_t>{3, 4}));
}

TEST_F(GraphWalkTest, HiddenEntriesAreNotScored) {
  TableAccess access = Path({5, 4, 3, 2});
  entries_ = {0, 2};
  options_.visible = {1, 4};

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_FALSE(access.scored().contains(0));
  EXPECT_TRUE(access.scored().contains(2));
}

TEST_F(GraphWalkTest, ReachesVisibleTokensFarFromEveryEntry) {
  TableAccess access = Path({5, 4, 3, 2, 1, 0});
  options_.visible = {4, 6};

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(access.scored(), (std::set<uint32_t>{4, 5}));
}

TEST_F(GraphWalkTest, FindsNothingWithoutEntries) {
  TableAccess access = Path({1, 2});
  entries_ = {};

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_TRUE(walk->found.empty());
  EXPECT_EQ(walk->tokens_scored, 0);
}

TEST_F(GraphWalkTest, EqualScoresEndToo) {
  TableAccess access = Path(std::vector<float>(200, 1.0F));
  options_.beta = 0;

  const auto walk = Walk(access);

  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(walk->found.size(), 200);
}

TEST_F(GraphWalkTest, AnErrorOfTheGraphPassesThrough) {
  TableAccess access = Path({1, 2, 3});
  access.FailAt(1);

  EXPECT_EQ(Walk(access).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
