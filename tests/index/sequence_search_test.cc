// Order and errors; which tokens are found is tested with the backend.

#include "index/sequence_search.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/index/sequence_fixture.h"

namespace alaya {
namespace {

class SequenceSearchTest : public testing::Test {
 protected:
  SequenceSearchTest() : sequence_(Shape(), /*seed=*/1), query_(RandomFloats(64, 1.0F, 2)) {
    task_.queries = {query_.data(), 1, 64};
    task_.visible = {&visible_, 1};
    task_.parts = sequence_.parts();
    task_.scale = 0.125F;
  }

  static SequenceShape Shape() {
    SequenceShape shape;
    shape.part_tokens = {50, 30, 20};
    return shape;
  }

  TestSequence sequence_;
  std::vector<float> query_;
  TokenRange visible_ = {0, 100};
  SequenceSearchTask task_;
};

TEST_F(SequenceSearchTest, ReturnsTokensOfAllPartsByFallingScore) {
  task_.target = TopKTarget{100};

  const auto result = SearchSequence(task_);

  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->queries[0].size(), 100);
  EXPECT_TRUE(std::ranges::is_sorted(result->queries[0], RanksBefore<SequenceToken>));
  EXPECT_EQ(result->tokens_scored, 100);
  for (const SequenceToken& token : result->queries[0]) {
    EXPECT_NEAR(token.score, sequence_.Score(query_, token.token),
                sequence_.ScoreTolerance(query_, token.token));
  }
}

TEST_F(SequenceSearchTest, RefusesTheFullTarget) {
  task_.target = FullTarget{};

  EXPECT_EQ(SearchSequence(task_).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(SequenceSearchTest, AnErrorOfAReaderPassesThrough) {
  task_.target = DiprTarget{};
  sequence_.reader(1).FailAt(KvKind::kKey, 0);

  EXPECT_EQ(SearchSequence(task_).status().code(), StatusCode::kDataLoss);
}

TEST_F(SequenceSearchTest, NoQueriesHaveNoAnswers) {
  task_.target = TopKTarget{5};
  task_.queries = {query_.data(), 0, 64};
  task_.visible = {};

  const auto result = SearchSequence(task_);

  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->queries.empty());
}

}  // namespace
}  // namespace alaya
