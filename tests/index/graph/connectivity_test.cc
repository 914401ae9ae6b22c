#include "index/graph/connectivity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kTokens = 200;

size_t ReachableCount(const KeyGraph& graph) { return Reachable(graph).size(); }

TEST(ReachAllTokensTest, ATokenThatNothingLeadsToFollowsTheOneBeforeIt) {
  KeyGraph graph;
  graph.first_token = 2;
  graph.neighbors = {{}, {}, {3}, {}, {}, {2}};
  graph.entries = {2};

  ReachAllTokens(&graph);

  EXPECT_EQ(graph.neighbors, (std::vector<std::vector<uint32_t>>{{}, {}, {3}, {4}, {5}, {2}}));
  EXPECT_EQ(graph.entries, (std::vector<uint32_t>{2}));
}

TEST(ReachAllTokensTest, AnUnreachableFirstTokenBecomesAnEntry) {
  KeyGraph graph;
  graph.first_token = 1;
  graph.neighbors = {{}, {}, {3}, {}};
  graph.entries = {2};

  ReachAllTokens(&graph);

  EXPECT_EQ(graph.entries, (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(ReachableCount(graph), 3);
}

class LinkLoneTokensTest : public testing::Test {
 protected:
  // Tokens 8 .. 99 are a ring; the others are alone.
  LinkLoneTokensTest() {
    graph_.first_token = 8;
    graph_.neighbors.resize(kTokens);
    for (uint32_t t = 8; t < 100; ++t) {
      for (uint32_t step = 1; step <= 6; ++step) {
        graph_.neighbors[t].push_back(8 + (t - 8 + step) % 92);
      }
    }
    for (uint32_t t = 8; t < 100; t += 10) graph_.entries.push_back(t);
  }

  const std::vector<float> values_ = RandomKeys(kTokens, kHeadDim, /*seed=*/1);
  const BuildKeys keys_ = *BuildKeys::Read(ReaderOf(values_, kHeadDim));
  GraphBuildOptions options_ = SmallGraphOptions();
  BuildProgress progress_{&options_};
  KeyGraph graph_;
};

TEST_F(LinkLoneTokensTest, LoneTokensLeadToTheOthersAndTheOthersToMostOfThem) {
  const KeyGraph before = graph_;

  ASSERT_TRUE(LinkLoneTokens(keys_, options_, progress_, &graph_).ok());

  for (uint32_t t = 100; t < kTokens; ++t) {
    EXPECT_FALSE(graph_.neighbors[t].empty());
    EXPECT_LE(graph_.neighbors[t].size(), options_.link_count);
    for (const uint32_t neighbor : graph_.neighbors[t]) EXPECT_LT(neighbor, 100);
  }
  for (uint32_t t = 8; t < 100; ++t) {
    const auto& now = graph_.neighbors[t];
    ASSERT_GE(now.size(), before.neighbors[t].size());
    EXPECT_LE(now.size(), before.neighbors[t].size() + options_.link_count);
    EXPECT_TRUE(std::equal(before.neighbors[t].begin(), before.neighbors[t].end(), now.begin()));
  }
  EXPECT_GE(ReachableCount(graph_), 92 + 90);
}

TEST_F(LinkLoneTokensTest, TokensBeforeTheFirstStayAlone) {
  ASSERT_TRUE(LinkLoneTokens(keys_, options_, progress_, &graph_).ok());

  for (uint32_t t = 0; t < 8; ++t) EXPECT_TRUE(graph_.neighbors[t].empty());
  for (const auto& neighbors : graph_.neighbors) {
    for (const uint32_t neighbor : neighbors) EXPECT_GE(neighbor, 8);
  }
}

TEST_F(LinkLoneTokensTest, StopsWhenAsked) {
  options_.should_stop = [] { return true; };

  EXPECT_EQ(LinkLoneTokens(keys_, options_, progress_, &graph_).code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace alaya
