#include "index/coarse/coarse_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "index/exact_index.h"
#include "tests/index/array_kv_reader.h"
#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kQueries = 3;

class CoarseIndexTest : public testing::Test {
 protected:
  // Neighbouring tokens have like keys, as far as `spread` is small.
  void Build(size_t token_count, float spread, const CoarseSearchOptions& search = {}) {
    std::vector<float> keys = RandomFloats(token_count * kHeadDim, spread, /*seed=*/1);
    const std::vector<float> topics = RandomFloats((token_count / 32 + 1) * kHeadDim, 1.0F, 2);
    for (size_t i = 0; i < keys.size(); ++i) {
      keys[i] += topics[i / kHeadDim / 32 * kHeadDim + i % kHeadDim];
    }
    reader_ = std::make_unique<ArrayKvReader>(keys, keys, kHeadDim, DType::kBF16,
                                              /*block_tokens=*/40);
    CoarseBuildOptions options;
    options.stretch_tokens = 16;
    ASSERT_TRUE(BuildStretchBounds(*reader_, options, blocks_.Sink()).ok());
    auto opened = CoarseIndex::Open(&blocks_, reader_.get(), search);
    ASSERT_TRUE(opened.ok()) << opened.status();
    index_ = *std::move(opened);
    exact_ = std::make_unique<ExactIndex>(reader_.get());
  }

  SearchRequest Request(const Target& target, TokenRange range = {0, 1'000'000}) {
    visible_.assign(kQueries, range);
    SearchRequest request;
    request.queries = {queries_.data(), kQueries, kHeadDim};
    request.visible = visible_;
    request.target = target;
    request.scale = 0.25F;
    request.want_mass = true;
    return request;
  }

  static void ExpectSameTokens(const SearchResult& found, const SearchResult& expected) {
    ASSERT_EQ(found.queries.size(), expected.queries.size());
    for (size_t i = 0; i < found.queries.size(); ++i) {
      EXPECT_EQ(found.queries[i].tokens, expected.queries[i].tokens);
      EXPECT_EQ(found.queries[i].best_score, expected.queries[i].best_score);
    }
  }

  // As stored: then a score does not depend on who computes it.
  std::vector<float> queries_ =
      Encode(RandomFloats(kQueries * kHeadDim, 4.0F, /*seed=*/3), kHeadDim, DType::kBF16).values;
  std::vector<TokenRange> visible_;
  std::unique_ptr<ArrayKvReader> reader_;
  DamageableIndexBlocks blocks_;
  std::unique_ptr<CoarseIndex> index_;
  std::unique_ptr<ExactIndex> exact_;
};

TEST_F(CoarseIndexTest, ASoundSearchMissesNothingAndSkipsStretches) {
  Build(4000, /*spread=*/0.1F);
  for (const TokenRange range :
       {TokenRange{0, 4000}, TokenRange{0, 1001}, TokenRange{37, 39}, TokenRange{700, 3333}}) {
    const SearchRequest request = Request(DiprTarget{0.3}, range);

    const auto found = index_->Search(request);
    const auto expected = exact_->Search(request);

    ASSERT_TRUE(found.ok() && expected.ok());
    ExpectSameTokens(*found, *expected);
  }
  const SearchRequest request = Request(DiprTarget{0.3});
  EXPECT_LT(index_->Search(request)->tokens_scored, exact_->Search(request)->tokens_scored / 4);
}

TEST_F(CoarseIndexTest, BoundsThatAreKnownServeAsThoseOfTheBlocks) {
  Build(1000, 0.3F);
  const StretchHeader header = *ReadStretchHeader(blocks_);
  const size_t count = header.stretch_count();
  std::vector<float> bounds(kQueries * count);
  const MatrixView<const float> queries(queries_.data(), kQueries, kHeadDim);
  for (size_t q = 0; q < kQueries; ++q) {
    ASSERT_TRUE(StretchQuery(&header, queries.row(q))
                    .UpperBounds(blocks_, 0, std::span(bounds).subspan(q * count, count))
                    .ok());
  }
  const auto known =
      CoarseIndex::WithBounds(header, reader_.get(), queries, {bounds.data(), kQueries, count});
  SearchRequest request = Request(DiprTarget{.alpha = 0.3}, {100, 900});

  ExpectSameTokens(*known->Search(request), *index_->Search(request));

  // One query of them.
  request.queries = queries.rows_range(1, 1);
  request.visible = request.visible.first(1);
  ExpectSameTokens(*known->Search(request), *index_->Search(request));
}

TEST_F(CoarseIndexTest, ABestScoreFromElsewhereExcludesMore) {
  Build(4000, /*spread=*/0.1F);
  SearchRequest request = Request(DiprTarget{0.3});
  const std::vector<float> best(kQueries, 1e6F);
  request.best_scores = best;

  const auto found = index_->Search(request);

  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->tokens_scored, 0);
  for (const QueryCandidates& query : found->queries) EXPECT_TRUE(query.tokens.empty());
}

TEST_F(CoarseIndexTest, ALimitedSearchKeepsToItsLimitAndReturnsOnlyTheTarget) {
  Build(4000, /*spread=*/1.0F, {.share_scored_max = 0.2, .tokens_scored_min = 1});
  SearchRequest request = Request(DiprTarget{});
  request.sound = false;

  const auto found = index_->Search(request);
  const auto expected = exact_->Search(request);

  ASSERT_TRUE(found.ok() && expected.ok());
  EXPECT_LE(found->tokens_scored, kQueries * (800 + 16));
  size_t found_count = 0;
  size_t expected_count = 0;
  for (size_t i = 0; i < kQueries; ++i) {
    const float bar =
        found->queries[i].best_score - static_cast<float>(DiprTarget{}.beta(double{request.scale}));
    for (const ScoredToken& token : found->queries[i].tokens) EXPECT_GE(token.score, bar - 1e-3F);
    EXPECT_LE(found->queries[i].log_sum_exp, expected->queries[i].log_sum_exp + 1e-6);
    found_count += found->queries[i].tokens.size();
    expected_count += expected->queries[i].tokens.size();
  }
  // Far better than the fifth that chance would find.
  EXPECT_GE(found_count, expected_count / 2);
}

TEST_F(CoarseIndexTest, TopKOverLikeNeighboursIsExact) {
  Build(4000, /*spread=*/0.05F);
  for (const size_t k : std::vector<size_t>{1, 20, 100}) {
    const SearchRequest request = Request(TopKTarget{k});

    const auto found = index_->Search(request);
    const auto expected = exact_->Search(request);

    ASSERT_TRUE(found.ok() && expected.ok());
    ExpectSameTokens(*found, *expected);
  }
}

TEST_F(CoarseIndexTest, TopKReturnsKWheneverThatManyAreVisible) {
  Build(500, /*spread=*/1.0F, {.share_scored_max = 0.01, .tokens_scored_min = 1});

  const auto many = index_->Search(Request(TopKTarget{400}));
  const auto all = index_->Search(Request(TopKTarget{100'000}, {10, 90}));

  ASSERT_TRUE(many.ok() && all.ok());
  for (const QueryCandidates& query : many->queries) EXPECT_EQ(query.tokens.size(), 400);
  for (const QueryCandidates& query : all->queries) EXPECT_EQ(query.tokens.size(), 80);
}

TEST_F(CoarseIndexTest, TinySegmentsAreAnsweredLikeTheExactIndex) {
  for (const size_t token_count : std::vector<size_t>{0, 1, 15, 16, 17, 41}) {
    blocks_ = DamageableIndexBlocks();
    Build(token_count, /*spread=*/1.0F);
    for (const Target& target : {Target(DiprTarget{}), Target(TopKTarget{3})}) {
      const SearchRequest request = Request(target);

      const auto found = index_->Search(request);
      const auto expected = exact_->Search(request);

      ASSERT_TRUE(found.ok() && expected.ok());
      ExpectSameTokens(*found, *expected);
      for (size_t i = 0; i < kQueries; ++i) {
        EXPECT_GE(expected->queries[i].log_sum_exp, found->queries[i].log_sum_exp - 1e-6);
      }
    }
  }
}

TEST_F(CoarseIndexTest, SaysWhichTargetsItAnswers) {
  Build(100, /*spread=*/1.0F);
  EXPECT_TRUE(CoarseIndex::Answers(DiprTarget{}));
  EXPECT_TRUE(CoarseIndex::Answers(TopKTarget{5}));
  EXPECT_FALSE(CoarseIndex::Answers(MassTarget{0.9}));
  EXPECT_FALSE(CoarseIndex::Answers(FullTarget{}));
  EXPECT_EQ(index_->Search(Request(MassTarget{0.9})).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(CoarseIndexTest, RefusesTheBoundsOfOtherKeys) {
  Build(100, /*spread=*/1.0F);
  const std::vector<float> other = RandomFloats(101 * kHeadDim, 1.0F, /*seed=*/4);
  const ArrayKvReader reader(other, other, kHeadDim, DType::kBF16, /*block_tokens=*/40);

  EXPECT_EQ(CoarseIndex::Open(&blocks_, &reader).status().code(), StatusCode::kDataLoss);
}

TEST_F(CoarseIndexTest, ErrorsOfKeysAndBlocksPassThrough) {
  Build(1000, /*spread=*/1.0F);
  reader_->FailAt(KvKind::kKey, 2);
  EXPECT_EQ(index_->Search(Request(TopKTarget{900})).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(reader_->pin_count(), 0);
  blocks_.FailAt(1);
  EXPECT_EQ(index_->Search(Request(TopKTarget{1})).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
