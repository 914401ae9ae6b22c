#include "index/graph/query_lists.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kTokens = 300;

class QueryListsTest : public testing::Test {
 protected:
  StatusOr<QueryLists> Find(size_t query_count) {
    queries_ = RandomFloats(query_count * kHeadDim, 1.0F, /*seed=*/2);
    return FindQueryLists(reader_, Rows(queries_, kHeadDim), options_, progress_);
  }
  double Score(size_t query, uint32_t token) const {
    return std::inner_product(reader_.key(token), reader_.key(token) + kHeadDim,
                              &queries_[query * kHeadDim], 0.0);
  }

  ArrayKvReader reader_ = ReaderOf(RandomKeys(kTokens, kHeadDim, /*seed=*/1), kHeadDim);
  GraphBuildOptions options_ = SmallGraphOptions();
  BuildProgress progress_{&options_};
  std::vector<float> queries_;
};

TEST_F(QueryListsTest, HasTheBestTokensInOrder) {
  const auto lists = Find(100);

  ASSERT_TRUE(lists.ok());
  ASSERT_EQ(lists->query_count(), 100);
  for (size_t q = 0; q < 100; ++q) {
    std::vector<double> scores;
    for (uint32_t t = 8; t < kTokens; ++t) scores.push_back(Score(q, t));
    std::ranges::sort(scores, std::greater());
    for (size_t rank = 0; rank < lists->width(); ++rank) {
      ASSERT_GE(lists->list(q)[rank], 8) << "tokens before the first are no targets";
      ASSERT_NEAR(Score(q, lists->list(q)[rank]), scores[rank], 1e-3);
    }
  }
}

TEST_F(QueryListsTest, FewTokensMakeShortLists) {
  options_.first_token = kTokens - 3;

  const auto lists = Find(5);

  ASSERT_TRUE(lists.ok());
  EXPECT_EQ(lists->width(), 3);
}

TEST_F(QueryListsTest, StopsWhenAsked) {
  options_.should_stop = [] { return true; };

  EXPECT_EQ(Find(100).status().code(), StatusCode::kCancelled);
}

TEST_F(QueryListsTest, AnErrorOfTheReaderPassesThrough) {
  reader_.FailAt(KvKind::kKey, 3);

  EXPECT_EQ(Find(5).status().code(), StatusCode::kDataLoss);
}

TEST(QueriesOfTokensTest, TurnsTheListsAround) {
  QueryLists lists(3, 2);
  std::ranges::copy(std::vector<uint32_t>{4, 1}, lists.list(0).begin());
  std::ranges::copy(std::vector<uint32_t>{1, 0}, lists.list(1).begin());
  std::ranges::copy(std::vector<uint32_t>{4, 0}, lists.list(2).begin());

  const QueriesOfTokens all(lists, /*rank_end=*/2, /*token_count=*/5);
  const QueriesOfTokens first(lists, /*rank_end=*/1, /*token_count=*/5);

  const auto queries = [](const QueriesOfTokens& of, uint32_t token) {
    return std::vector<uint32_t>(of.queries(token).begin(), of.queries(token).end());
  };
  EXPECT_EQ(queries(all, 0), (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(queries(all, 1), (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(queries(all, 2), (std::vector<uint32_t>{}));
  EXPECT_EQ(queries(all, 4), (std::vector<uint32_t>{0, 2}));
  EXPECT_EQ(queries(first, 0), (std::vector<uint32_t>{}));
  EXPECT_EQ(queries(first, 4), (std::vector<uint32_t>{0, 2}));
}

}  // namespace
}  // namespace alaya
