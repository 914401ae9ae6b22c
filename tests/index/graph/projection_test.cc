#include "index/graph/projection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kTokens = 400;
constexpr size_t kWidth = 16;

// Lists of different tokens; each query takes them from a stretch of 40.
QueryLists RandomLists(size_t query_count, uint32_t seed) {
  std::mt19937 random(seed);
  QueryLists lists(query_count, kWidth);
  for (size_t q = 0; q < query_count; ++q) {
    std::vector<uint32_t> tokens(40);
    const auto begin = static_cast<uint32_t>(random() % (kTokens - tokens.size()));
    for (uint32_t i = 0; i < tokens.size(); ++i) tokens[i] = begin + i;
    std::ranges::shuffle(tokens, random);
    std::copy_n(tokens.begin(), kWidth, lists.list(q).begin());
  }
  return lists;
}

class ProjectionTest : public testing::Test {
 protected:
  StatusOr<std::vector<std::vector<uint32_t>>> Project(const QueryLists& lists) {
    return ProjectGraph(lists, kTokens, options_, progress_);
  }

  GraphBuildOptions options_ = SmallGraphOptions();
  BuildProgress progress_{&options_};
};

TEST_F(ProjectionTest, NeighboursWereFoundByTheSameQuery) {
  const QueryLists lists = RandomLists(200, /*seed=*/1);

  const auto neighbors = Project(lists);

  ASSERT_TRUE(neighbors.ok());
  std::set<std::pair<uint32_t, uint32_t>> found_together;
  for (size_t q = 0; q < lists.query_count(); ++q) {
    for (const uint32_t a : lists.list(q)) {
      for (const uint32_t b : lists.list(q)) found_together.insert({a, b});
    }
  }
  for (uint32_t t = 0; t < kTokens; ++t) {
    const std::vector<uint32_t>& of_token = (*neighbors)[t];
    EXPECT_LE(of_token.size(), options_.degree_max);
    const std::set<uint32_t> distinct(of_token.begin(), of_token.end());
    EXPECT_EQ(distinct.size(), of_token.size());
    EXPECT_FALSE(distinct.contains(t));
    for (const uint32_t neighbor : of_token) {
      EXPECT_TRUE(found_together.contains({t, neighbor}));
    }
  }
}

TEST_F(ProjectionTest, EveryTokenThatAQueryFoundFirstHasASponsorInItsLists) {
  const QueryLists lists = RandomLists(200, /*seed=*/2);

  const auto neighbors = Project(lists);

  ASSERT_TRUE(neighbors.ok());
  std::set<uint32_t> sponsored;
  for (const auto& of_token : *neighbors) sponsored.insert(of_token.begin(), of_token.end());
  for (size_t q = 0; q < lists.query_count(); ++q) {
    for (const uint32_t token : lists.list(q).first(options_.sponsored_rank)) {
      EXPECT_TRUE(sponsored.contains(token));
    }
  }
}

TEST_F(ProjectionTest, TokensThatNoQueryFoundStayAlone) {
  QueryLists lists(1, 3);
  std::ranges::copy(std::vector<uint32_t>{10, 20, 30}, lists.list(0).begin());

  const auto neighbors = Project(lists);

  ASSERT_TRUE(neighbors.ok());
  const std::set<uint32_t> members = {10, 20, 30};
  for (uint32_t t = 0; t < kTokens; ++t) {
    const std::set<uint32_t> of_token((*neighbors)[t].begin(), (*neighbors)[t].end());
    std::set<uint32_t> expected;
    if (members.contains(t)) expected = members;
    expected.erase(t);
    EXPECT_EQ(of_token, expected);
  }
}

TEST_F(ProjectionTest, WithoutQueriesNobodyHasNeighbours) {
  const auto neighbors = Project(QueryLists());

  ASSERT_TRUE(neighbors.ok());
  for (const auto& of_token : *neighbors) EXPECT_TRUE(of_token.empty());
}

TEST_F(ProjectionTest, StopsWhenAsked) {
  options_.should_stop = [] { return true; };

  EXPECT_EQ(Project(RandomLists(10, /*seed=*/3)).status().code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace alaya
