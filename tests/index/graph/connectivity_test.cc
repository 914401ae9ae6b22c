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

class LinkNearKeysTest : public testing::Test {
 protected:
  LinkNearKeysTest() {
    graph_.first_token = 8;
    graph_.neighbors.resize(kTokens);
    options_.link_count = 4;
    options_.link_window = 10;
  }

  double SquaredDistance(size_t a, size_t b) const {
    double sum = 0;
    for (size_t e = 0; e < kHeadDim; ++e) {
      const double difference =
          double{rounded_[a * kHeadDim + e]} - double{rounded_[b * kHeadDim + e]};
      sum += difference * difference;
    }
    return sum;
  }

  const std::vector<float> values_ = RandomKeys(kTokens, kHeadDim, /*seed=*/1);
  const std::vector<float> rounded_ = Encode(values_, kHeadDim, DType::kBF16).values;
  const BuildKeys keys_ = *BuildKeys::Read(ReaderOf(values_, kHeadDim));
  GraphBuildOptions options_ = SmallGraphOptions();
  BuildProgress progress_{&options_};
  KeyGraph graph_;
};

TEST_F(LinkNearKeysTest, TheNearestOfTheTextAroundAreNeighbours) {
  ASSERT_TRUE(LinkNearKeys(keys_, options_, progress_, &graph_).ok());

  for (size_t t = 8; t < kTokens; ++t) {
    std::vector<double> distances;
    for (size_t u = t < 18 ? 8 : t - 10; u < std::min(t + 11, kTokens); ++u) {
      if (u != t) distances.push_back(SquaredDistance(t, u));
    }
    std::ranges::sort(distances);
    ASSERT_EQ(graph_.neighbors[t].size(), 4);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(SquaredDistance(t, graph_.neighbors[t][i]), distances[i], 1e-3);
    }
  }
}

TEST_F(LinkNearKeysTest, NeighboursThatAreThereStayAndAreNotRepeated) {
  ASSERT_TRUE(LinkNearKeys(keys_, options_, progress_, &graph_).ok());
  KeyGraph again = graph_;

  ASSERT_TRUE(LinkNearKeys(keys_, options_, progress_, &again).ok());

  EXPECT_EQ(again.neighbors, graph_.neighbors);
}

TEST_F(LinkNearKeysTest, TokensBeforeTheFirstStayAlone) {
  ASSERT_TRUE(LinkNearKeys(keys_, options_, progress_, &graph_).ok());

  for (uint32_t t = 0; t < 8; ++t) EXPECT_TRUE(graph_.neighbors[t].empty());
  for (const auto& neighbors : graph_.neighbors) {
    for (const uint32_t neighbor : neighbors) EXPECT_GE(neighbor, 8);
  }
}

TEST_F(LinkNearKeysTest, StopsWhenAsked) {
  options_.should_stop = [] { return true; };

  EXPECT_EQ(LinkNearKeys(keys_, options_, progress_, &graph_).code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace alaya
