#include "index/graph/query_lists.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
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

// Finds what its function makes of the right lists.
class MadeFinder final : public NearestKeyFinder {
 public:
  using Change = std::function<void(MatrixView<uint32_t> lists)>;

  MadeFinder(QueryLists right, Change change)
      : right_(std::move(right)), change_(std::move(change)) {}

  StatusOr<bool> Find(const NearestKeyQuery& query, MatrixView<uint32_t> lists) override {
    asked_count_ += query.queries.rows();
    if (!change_) return false;
    for (size_t q = 0; q < lists.rows(); ++q) {
      std::ranges::copy(right_.list(q), lists.row(q).begin());
    }
    change_(lists);
    return true;
  }
  void GiveUp(const Status& why) override { given_up_ = std::string(Message(why)); }

  size_t asked_count() const { return asked_count_; }
  const std::string& given_up() const { return given_up_; }

 private:
  const QueryLists right_;
  const Change change_;
  size_t asked_count_ = 0;
  std::string given_up_;
};

class FoundListsTest : public QueryListsTest {
 protected:
  // What becomes of 40 queries' lists when a finder changes them so.
  std::string FindWith(MadeFinder::Change change) {
    options_.nearest_keys = nullptr;
    const QueryLists right = *Find(40);
    MadeFinder finder(right, std::move(change));
    options_.nearest_keys = &finder;
    found_ = *Find(40);
    EXPECT_EQ(finder.asked_count(), 40U);
    is_right_ = true;
    for (size_t q = 0; q < 40; ++q) is_right_ &= std::ranges::equal(found_.list(q), right.list(q));
    return finder.given_up();
  }

  QueryLists found_;
  bool is_right_ = false;
};

TEST_F(FoundListsTest, WhatIsFoundIsTaken) {
  // The second query's are no sample: that they are taken shows where lists come from.
  EXPECT_EQ(FindWith([](auto lists) { std::swap(lists.row(1)[0], lists.row(1)[9]); }), "");
  EXPECT_FALSE(is_right_);
}

TEST_F(FoundListsTest, WhoFindsNothingIsNotBelieved) {
  EXPECT_EQ(FindWith(nullptr), "");
  EXPECT_TRUE(is_right_);
}

TEST_F(FoundListsTest, WrongListsAreFoundAgainAndEndTheFindersWork) {
  EXPECT_EQ(FindWith([](auto lists) { std::swap(lists.row(0)[0], lists.row(0)[9]); }),
            "nearest keys of query 0: others have higher scores");
  EXPECT_TRUE(is_right_);
  EXPECT_EQ(FindWith([](auto lists) { lists.row(39)[3] = lists.row(39)[2]; }),
            "nearest keys of query 39: others have higher scores");
  EXPECT_TRUE(is_right_);
  // Tokens that are none are found in every list.
  EXPECT_EQ(FindWith([](auto lists) { lists.row(1)[2] = kTokens; }),
            "nearest keys of query 1: there is no token 300");
  EXPECT_TRUE(is_right_);
  EXPECT_EQ(FindWith([](auto lists) { lists.row(1)[2] = 7; }),
            "nearest keys of query 1: there is no token 7");
  EXPECT_TRUE(is_right_);
}

TEST_F(FoundListsTest, EqualScoresMayChangePlaces) {
  std::vector<float> keys = RandomKeys(kTokens, kHeadDim, /*seed=*/1);
  for (size_t t = 9; t < kTokens; t += 2) {
    std::copy_n(&keys[(t - 1) * kHeadDim], kHeadDim, &keys[t * kHeadDim]);
  }
  reader_ = ReaderOf(keys, kHeadDim);

  EXPECT_EQ(FindWith([](auto lists) { std::swap(lists.row(0)[0], lists.row(0)[1]); }), "");

  EXPECT_FALSE(is_right_);
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
