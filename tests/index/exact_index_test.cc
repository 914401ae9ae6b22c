// What the scan keeps and how it fails; the choice is tested through the backend.

#include "index/exact_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/array_kv_reader.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kHeadDim = 8;

// Keys whose score with the query (1, 0, 0, ...) is given.
ArrayKvReader ReaderWithScores(const std::vector<float>& scores) {
  std::vector<float> keys(scores.size() * kHeadDim);
  for (size_t i = 0; i < scores.size(); ++i) keys[i * kHeadDim] = scores[i];
  return {keys, std::vector<float>(keys.size()), kHeadDim, DType::kF32, /*block_tokens=*/16};
}

class ExactIndexTest : public testing::Test {
 protected:
  ExactIndexTest() { query_[0] = 1; }

  SearchRequest Request(const Target& target) {
    SearchRequest request;
    request.queries = {query_.data(), 1, kHeadDim};
    request.visible = {&visible_, 1};
    request.target = target;
    request.best_scores = {&best_score_, 1};
    request.want_mass = true;
    return request;
  }

  std::vector<float> query_ = std::vector<float>(kHeadDim);
  TokenRange visible_ = {0, 1000000};
  float best_score_ = -kInfinity;
};

TEST_F(ExactIndexTest, TopKKeepsTheEarlierOfEqualScores) {
  const ArrayKvReader reader = ReaderWithScores({1, 5, 5, 0, 5, 5});

  const auto result = ExactIndex(&reader).Search(Request(TopKTarget{2}));

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->queries[0].tokens, (std::vector<ScoredToken>{{1, 5}, {2, 5}}));
}

TEST_F(ExactIndexTest, TopKStaysExactWhenItPrunesOnTheWay) {
  std::vector<float> scores = RandomFloats(20000, 1.0F, /*seed=*/1);
  for (float& score : scores) score = std::round(score * 4);  // many ties
  const ArrayKvReader reader = ReaderWithScores(scores);
  std::vector<ScoredToken> expected;
  for (size_t i = 0; i < scores.size(); ++i) {
    expected.push_back({static_cast<uint32_t>(i), scores[i]});
  }
  std::ranges::stable_sort(expected, std::greater(), &ScoredToken::score);
  expected.resize(5000);
  std::ranges::sort(expected, {}, &ScoredToken::token);

  const auto result = ExactIndex(&reader).Search(Request(TopKTarget{5000}));

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->queries[0].tokens, expected);
}

TEST_F(ExactIndexTest, DiprKeepsWhatTheFinalBestAllows) {
  // Rising scores: everything is a candidate when it is met.
  std::vector<float> scores(20000);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(i);
  const ArrayKvReader reader = ReaderWithScores(scores);

  const auto result = ExactIndex(&reader).Search(Request(DiprTarget{std::exp(-2.5)}));

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->queries[0].tokens,
            (std::vector<ScoredToken>{{19997, 19997}, {19998, 19998}, {19999, 19999}}));
  EXPECT_EQ(result->queries[0].best_score, 19999);
  EXPECT_EQ(result->tokens_scored, 20000);
}

TEST_F(ExactIndexTest, ABestScoreFromElsewhereRaisesTheBar) {
  const ArrayKvReader reader = ReaderWithScores({1, 2, 3});
  best_score_ = 10;

  const auto result = ExactIndex(&reader).Search(Request(DiprTarget{0.5}));

  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->queries[0].tokens.empty());
  EXPECT_EQ(result->queries[0].best_score, 3);
}

TEST_F(ExactIndexTest, MassIsOverAllVisibleTokens) {
  const ArrayKvReader reader = ReaderWithScores({1, 2, 3, 4});
  visible_ = {1, 3};

  const auto result = ExactIndex(&reader).Search(Request(DiprTarget{1.0}));

  ASSERT_TRUE(result.ok());
  EXPECT_NEAR(result->queries[0].log_sum_exp, std::log(std::exp(2.0) + std::exp(3.0)), 1e-6);
}

TEST_F(ExactIndexTest, SeesNothingWithoutVisibleTokens) {
  ArrayKvReader reader = ReaderWithScores({1, 2, 3, 4});
  visible_ = {2, 2};

  const auto result = ExactIndex(&reader).Search(Request(TopKTarget{3}));

  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->queries[0].tokens.empty());
  EXPECT_EQ(result->queries[0].best_score, -kInfinity);
  EXPECT_EQ(result->queries[0].log_sum_exp, -std::numeric_limits<double>::infinity());
  EXPECT_FALSE(reader.was_read(KvKind::kKey, 0));
}

TEST_F(ExactIndexTest, AnErrorOfTheReaderPassesThrough) {
  ArrayKvReader reader = ReaderWithScores(std::vector<float>(40, 1.0F));
  reader.FailAt(KvKind::kKey, 2);

  EXPECT_EQ(ExactIndex(&reader).Search(Request(TopKTarget{3})).status().code(),
            StatusCode::kDataLoss);
  visible_ = {0, 32};
  EXPECT_TRUE(ExactIndex(&reader).Search(Request(TopKTarget{3})).ok());
}

}  // namespace
}  // namespace alaya
