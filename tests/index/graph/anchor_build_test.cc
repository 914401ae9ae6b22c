#include "index/graph/anchor_build.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kTokens = 2000;

double Dot(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class AnchorBuildTest : public testing::Test {
 protected:
  AnchorBuildTest() {
    options_.anchor_count = 32;
    options_.anchor_tokens = 200;
  }

  StatusOr<AnchorScores> Build(size_t query_count) {
    queries_ =
        Encode(RandomFloats(query_count * kHeadDim, 1.0F, /*seed=*/2), kHeadDim, DType::kBF16)
            .values;
    return BuildAnchorScores(reader_, Rows(queries_, kHeadDim), options_, progress_);
  }
  std::span<const float> query(size_t i) const {
    return std::span(queries_).subspan(i * kHeadDim, kHeadDim);
  }
  std::span<const float> key(uint32_t token) const { return {reader_.key(token), kHeadDim}; }

  ArrayKvReader reader_ = ReaderOf(RandomKeys(kTokens, kHeadDim, /*seed=*/1), kHeadDim);
  GraphBuildOptions options_ = SmallGraphOptions();
  BuildProgress progress_{&options_};
  std::vector<float> queries_;
};

TEST_F(AnchorBuildTest, EveryAnchorListsItsBestTokensWithTheirScores) {
  const auto scores = Build(32);  // all of them are anchors, in their order

  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->anchor_count(), 32);
  for (size_t a = 0; a < 32; ++a) {
    std::vector<double> all;
    for (uint32_t t = 8; t < kTokens; ++t) all.push_back(Dot(query(a), key(t)));
    std::ranges::sort(all, std::greater());
    size_t listed = 0;
    for (uint32_t t = 0; t < kTokens; ++t) {
      for (const AnchorLevel& level : scores->of(t)) {
        if (level.anchor != a) continue;
        ++listed;
        const double exact = Dot(query(a), key(t));
        EXPECT_GE(exact, all[200] - 1e-3);
        EXPECT_NEAR(double{scores->lowest[a]} + double{scores->step[a]} * level.level, exact,
                    0.51 * double{scores->step[a]} + 1e-3);
      }
    }
    EXPECT_EQ(listed, 200);
    EXPECT_LT(scores->lowest[a], all[199]);
  }
}

TEST_F(AnchorBuildTest, AQueryLikeItsAnchorsIsTheirMixture) {
  const auto scores = Build(32);
  ASSERT_TRUE(scores.ok());
  // More anchors than dimensions: whatever is asked, they can be mixed to it, about.
  std::vector<float> asked(kHeadDim);
  for (size_t e = 0; e < kHeadDim; ++e) asked[e] = (query(3)[e] + query(7)[e]) / 2;

  std::vector<float> mixed(kHeadDim);
  for (size_t a = 0; a < 32; ++a) {
    const double weight = Dot(std::span(scores->weights).subspan(a * kHeadDim, kHeadDim), asked);
    for (size_t e = 0; e < kHeadDim; ++e) mixed[e] += static_cast<float>(weight) * query(a)[e];
  }

  const double cosine = Dot(mixed, asked) / std::sqrt(Dot(mixed, mixed) * Dot(asked, asked));
  EXPECT_GE(cosine, 0.97);
}

TEST_F(AnchorBuildTest, TokensThatFewAnchorsListAreLeftOut) {
  options_.anchor_count = 100;
  const auto scores = Build(100);

  ASSERT_TRUE(scores.ok());
  ASSERT_EQ(scores->anchor_count(), 100);
  size_t kept = 0;
  for (size_t t = 0; t < kTokens; ++t) {
    const size_t listings = scores->of(t).size();
    EXPECT_TRUE(listings == 0 || listings >= 4) << t;
    kept += listings;
  }
  EXPECT_GE(kept, 100 * 200 / 2);
  EXPECT_LE(kept, 100 * 200);
}

TEST_F(AnchorBuildTest, TokensBeforeTheFirstAreNotListed) {
  const auto scores = Build(32);

  ASSERT_TRUE(scores.ok());
  for (size_t t = 0; t < 8; ++t) EXPECT_TRUE(scores->of(t).empty());
}

TEST_F(AnchorBuildTest, FewTokensMakeShortLists) {
  options_.first_token = kTokens - 16;
  const auto scores = Build(5);

  ASSERT_TRUE(scores.ok());
  EXPECT_EQ(scores->levels.size(), 5 * 2);
}

TEST_F(AnchorBuildTest, WithoutQueriesOrTokensThereAreNone) {
  for (const auto& [first_token, query_count, anchor_count] :
       {std::tuple(8, 0, 40), {8, 40, 0}, {2000, 40, 40}, {3000, 40, 40}}) {
    options_.first_token = static_cast<size_t>(first_token);
    options_.anchor_count = static_cast<size_t>(anchor_count);

    const auto scores = Build(static_cast<size_t>(query_count));

    ASSERT_TRUE(scores.ok());
    EXPECT_EQ(scores->anchor_count(), 0);
    EXPECT_EQ(scores->begins.size(), kTokens + 1);
    EXPECT_TRUE(scores->levels.empty());
  }
}

TEST_F(AnchorBuildTest, ZeroQueriesAndKeysGiveNumbers) {
  const ArrayKvReader zeros = ReaderOf(std::vector<float>(kTokens * kHeadDim), kHeadDim);
  const std::vector<float> queries(10 * kHeadDim);

  const auto scores = BuildAnchorScores(zeros, Rows(queries, kHeadDim), options_, progress_);

  ASSERT_TRUE(scores.ok());
  for (const float weight : scores->weights) EXPECT_EQ(weight, 0);
  for (const float step : scores->step) EXPECT_EQ(step, 0);
}

TEST_F(AnchorBuildTest, StopsWhenAsked) {
  options_.should_stop = [] { return true; };

  EXPECT_EQ(Build(32).status().code(), StatusCode::kCancelled);
}

TEST_F(AnchorBuildTest, AnErrorOfTheReaderPassesThrough) {
  reader_.FailAt(KvKind::kKey, 30);

  EXPECT_EQ(Build(32).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
