#include "index/graph/fine_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "index/exact_index.h"
#include "tests/index/damageable_index_blocks.h"
#include "tests/index/graph/graph_fixture.h"
#include "tests/support/attention_workload.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every walk is a real one.
constexpr FineSearchOptions kNoScan = {.scan_tokens = 0};

std::vector<uint32_t> TokensOf(const QueryCandidates& found) {
  std::vector<uint32_t> tokens;
  for (const ScoredToken& token : found.tokens) tokens.push_back(token.token);
  return tokens;
}

// An index over some keys, and the same request for it and for the exact one.
class Searched {
 public:
  Searched(const std::vector<float>& keys, size_t head_dim, const std::vector<float>& queries,
           const GraphBuildOptions& options, const FineSearchOptions& search = kNoScan)
      : reader_(ReaderOf(keys, head_dim)), exact_(&reader_) {
    const Status built = BuildFineIndex(reader_, Rows(queries, head_dim), options, blocks_.Sink());
    EXPECT_TRUE(built.ok()) << built;
    auto opened = FineIndex::Open(&blocks_, &reader_, search);
    EXPECT_TRUE(opened.ok()) << opened.status();
    fine_ = *std::move(opened);
  }

  ArrayKvReader& reader() { return reader_; }
  DamageableIndexBlocks& blocks() { return blocks_; }
  const ExactIndex& exact() const { return exact_; }
  const FineIndex& fine() const { return *fine_; }

 private:
  ArrayKvReader reader_;
  DamageableIndexBlocks blocks_;
  ExactIndex exact_;
  std::unique_ptr<FineIndex> fine_;
};

// A request that owns what it points to.
struct Request {
  Request(const std::vector<float>& queries, size_t head_dim, TokenRange range,
          const Target& target)
      : query_values(Encode(queries, head_dim, DType::kBF16).values),
        visible(queries.size() / head_dim, range) {
    request.queries = Rows(query_values, head_dim);
    request.visible = visible;
    request.target = target;
    request.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  }
  void SetBestScores(float best) {
    best_scores.assign(visible.size(), best);
    request.best_scores = best_scores;
  }

  std::vector<float> query_values;
  std::vector<TokenRange> visible;
  std::vector<float> best_scores;
  SearchRequest request;
};

// One kv head of the synthetic attention with four query heads.
class FineIndexWorkloadTest : public testing::Test {
 protected:
  static constexpr size_t kTokens = 6000;
  static constexpr size_t kHeadDim = 64;
  static constexpr size_t kGroup = 4;
  static constexpr uint32_t kLayer = 3;

  static void SetUpTestSuite() {
    WorkloadOptions workload;
    workload.model = {"small", kLayer + 1, kGroup, 1, kHeadDim};
    workload.token_count = kTokens;
    workload.seed = 11;
    workload.sink_lift = 0.5;
    workload_ = std::make_unique<AttentionWorkload>(workload);
    std::vector<float> samples;
    for (uint64_t position = 0; position < kTokens; position += 20) {
      const std::vector<float> queries = workload_->Queries(kLayer, position);
      samples.insert(samples.end(), queries.begin(), queries.end());
    }
    GraphBuildOptions options;
    options.entry_tokens = 128;
    searched_ = std::make_unique<Searched>(workload_->HeadKeys(kLayer, 0, {0, kTokens}), kHeadDim,
                                           samples, options);
  }
  static void TearDownTestSuite() {
    searched_.reset();
    workload_.reset();
  }

  static Request AtPosition(uint64_t position, TokenRange visible, const Target& target) {
    return {workload_->Queries(kLayer, position), kHeadDim, visible, target};
  }

  // What the index finds of what is there, mean over steps from `position` on; every
  // token found must belong to the answer and have its score.
  static double MeanRecall(uint64_t position, TokenRange visible, const Target& target,
                           double* share_scored) {
    std::vector<double> recalls;
    uint64_t scored = 0;
    for (uint64_t step = 0; step < 12; ++step) {
      const Request request = AtPosition(position + 9 * step, visible, target);
      const auto found = searched_->fine().Search(request.request);
      const auto expected = searched_->exact().Search(request.request);
      EXPECT_TRUE(found.ok() && expected.ok());
      scored += found->tokens_scored;
      for (size_t i = 0; i < kGroup; ++i) {
        const QueryCandidates& mine = found->queries[i];
        const QueryCandidates& all = expected->queries[i];
        EXPECT_TRUE(std::ranges::is_sorted(mine.tokens, {}, &ScoredToken::token));
        recalls.push_back(Recall(TokensOf(all), TokensOf(mine)));
        ExpectValid(mine, all, visible, std::holds_alternative<DiprTarget>(target));
      }
    }
    *share_scored = static_cast<double>(scored) /
                    (static_cast<double>(visible.size()) * static_cast<double>(recalls.size()));
    return Mean(recalls);
  }

  static void ExpectValid(const QueryCandidates& mine, const QueryCandidates& all,
                          TokenRange visible, bool is_dipr) {
    EXPECT_LE(mine.best_score, all.best_score + 1e-3F);
    float lowest = kInfinity;
    for (const ScoredToken& token : all.tokens) lowest = std::min(lowest, token.score);
    const bool is_best_found = mine.best_score >= all.best_score - 1e-3F;
    for (const ScoredToken& token : mine.tokens) {
      EXPECT_TRUE(visible.contains(token.token));
      // A worse best makes a wider range; otherwise the answer is part of the exact one.
      EXPECT_TRUE(!is_dipr || !is_best_found || token.score >= lowest - 1e-2F);
      const auto same = std::ranges::lower_bound(all.tokens, token.token, {}, &ScoredToken::token);
      if (same != all.tokens.end() && same->token == token.token) {
        EXPECT_NEAR(token.score, same->score, 1e-3F * std::fabs(token.score) + 1e-3F);
      }
    }
  }

  // Made once: building takes most of the time.
  static std::unique_ptr<AttentionWorkload> workload_;
  static std::unique_ptr<Searched> searched_;
};

std::unique_ptr<AttentionWorkload> FineIndexWorkloadTest::workload_;
std::unique_ptr<Searched> FineIndexWorkloadTest::searched_;

TEST_F(FineIndexWorkloadTest, FindsTheDiprSetAndNothingElse) {
  double share_scored = 0;

  const double recall = MeanRecall(kTokens, {0, kTokens}, DiprTarget{}, &share_scored);

  EXPECT_GE(recall, 0.95);
  EXPECT_LE(share_scored, 0.5);
}

TEST_F(FineIndexWorkloadTest, FindsTheTopK) {
  double share_scored = 0;

  EXPECT_GE(MeanRecall(kTokens, {0, kTokens}, TopKTarget{20}, &share_scored), 0.95);
  EXPECT_LE(share_scored, 0.5);
}

TEST_F(FineIndexWorkloadTest, APrefixIsSearchedAsWell) {
  double share_scored = 0;
  constexpr TokenRange kPrefix = {0, kTokens * 3 / 10};

  EXPECT_GE(MeanRecall(kPrefix.end, kPrefix, DiprTarget{}, &share_scored), 0.95);
  EXPECT_GE(MeanRecall(kPrefix.end, kPrefix, TopKTarget{20}, &share_scored), 0.95);
}

TEST_F(FineIndexWorkloadTest, TheBestScoreOfTheWindowIsHeeded) {
  Request request = AtPosition(kTokens, {128, kTokens}, DiprTarget{});
  const auto before = searched_->fine().Search(request.request);
  ASSERT_TRUE(before.ok());
  float best = 0;
  for (const auto& query : before->queries) best = std::max(best, query.best_score);
  request.SetBestScores(best + 200);

  const auto after = searched_->fine().Search(request.request);

  ASSERT_TRUE(after.ok());
  for (size_t i = 0; i < kGroup; ++i) {
    EXPECT_TRUE(after->queries[i].tokens.empty());
    EXPECT_EQ(after->queries[i].best_score, before->queries[i].best_score);
  }
  EXPECT_LE(after->tokens_scored, before->tokens_scored);
}

TEST_F(FineIndexWorkloadTest, MassIsALowerBound) {
  Request request = AtPosition(kTokens, {0, kTokens}, DiprTarget{});
  request.request.want_mass = true;

  const auto found = searched_->fine().Search(request.request);
  const auto expected = searched_->exact().Search(request.request);

  ASSERT_TRUE(found.ok() && expected.ok());
  for (size_t i = 0; i < kGroup; ++i) {
    double of_tokens = 0;
    for (const ScoredToken& token : found->queries[i].tokens) {
      of_tokens += std::exp(double{request.request.scale} * double{token.score});
    }
    EXPECT_LE(found->queries[i].log_sum_exp, expected->queries[i].log_sum_exp + 1e-4);
    EXPECT_GE(found->queries[i].log_sum_exp, std::log(of_tokens) - 1e-4);
  }
}

TEST_F(FineIndexWorkloadTest, FewPinsGiveTheSameAnswer) {
  const Request request = AtPosition(kTokens, {0, kTokens}, DiprTarget{});
  const auto expected = searched_->fine().Search(request.request);
  FineSearchOptions options = kNoScan;
  options.pin_count_max = 3;
  const auto thrifty = FineIndex::Open(&searched_->blocks(), &searched_->reader(), options);
  ASSERT_TRUE(thrifty.ok());

  const int pins_before = searched_->reader().pin_count();
  const auto found = (*thrifty)->Search(request.request);

  ASSERT_TRUE(found.ok());
  EXPECT_EQ(searched_->reader().pin_count(), pins_before);
  for (size_t i = 0; i < kGroup; ++i) {
    EXPECT_EQ(found->queries[i].tokens, expected->queries[i].tokens);
  }
}

TEST_F(FineIndexWorkloadTest, GraphTakesLittleBesideKeysAndValues) {
  EXPECT_LE(searched_->blocks().bytes(), kTokens * kHeadDim * 2 * 2 * 30 / 100);
}

struct SizeCase {
  size_t token_count;
  size_t query_count;
};

class FineIndexSizeTest : public testing::TestWithParam<SizeCase> {};

// So few tokens are all met.
TEST_P(FineIndexSizeTest, AnswersLikeTheExactIndex) {
  constexpr size_t kHeadDim = 16;
  const SizeCase& c = GetParam();
  Searched searched(RandomKeys(c.token_count, kHeadDim, /*seed=*/1), kHeadDim,
                    RandomFloats(c.query_count * kHeadDim, 1.0F, /*seed=*/2), SmallGraphOptions());
  for (const Target& target : {Target(DiprTarget{}), Target(TopKTarget{5})}) {
    for (const TokenRange visible :
         {TokenRange{0, 1000}, TokenRange{0, 3}, TokenRange{2, 15}, TokenRange{5, 5}}) {
      const Request request(RandomFloats(3 * kHeadDim, 3.0F, /*seed=*/3), kHeadDim, visible,
                            target);

      const auto found = searched.fine().Search(request.request);
      const auto expected = searched.exact().Search(request.request);

      ASSERT_TRUE(found.ok() && expected.ok());
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(TokensOf(found->queries[i]), TokensOf(expected->queries[i]));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, FineIndexSizeTest,
                         testing::Values(SizeCase{0, 0}, SizeCase{1, 1}, SizeCase{8, 4},
                                         SizeCase{9, 4}, SizeCase{12, 0}, SizeCase{40, 50}),
                         [](const auto& c) {
                           return std::to_string(c.param.token_count) + "Tokens" +
                                  std::to_string(c.param.query_count) + "Queries";
                         });

class FineIndexTest : public testing::Test {
 protected:
  static constexpr size_t kHeadDim = 16;
  static constexpr size_t kTokens = 1000;

  std::vector<float> keys_ = RandomKeys(kTokens, kHeadDim, /*seed=*/1);
  std::vector<float> samples_ = RandomFloats(500 * kHeadDim, 1.0F, /*seed=*/2);
  std::vector<float> queries_ = RandomFloats(4 * kHeadDim, 3.0F, /*seed=*/3);
};

TEST_F(FineIndexTest, FindsMostWithoutSampledQueriesToo) {
  Searched searched(keys_, kHeadDim, {}, SmallGraphOptions());
  const Request request(queries_, kHeadDim, {0, kTokens}, TopKTarget{10});

  const auto found = searched.fine().Search(request.request);
  const auto expected = searched.exact().Search(request.request);

  ASSERT_TRUE(found.ok() && expected.ok());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_GE(Recall(TokensOf(expected->queries[i]), TokensOf(found->queries[i])), 0.8);
  }
}

TEST_F(FineIndexTest, TokensBeforeTheGraphAreAlwaysFound) {
  for (size_t e = 0; e < kHeadDim; ++e) keys_[3 * kHeadDim + e] = 4 * queries_[e];
  Searched searched(keys_, kHeadDim, samples_, SmallGraphOptions());
  const Request request(queries_, kHeadDim, {0, kTokens}, TopKTarget{1});

  const auto found = searched.fine().Search(request.request);

  ASSERT_TRUE(found.ok());
  EXPECT_EQ(TokensOf(found->queries[0]), (std::vector<uint32_t>{3}));
}

TEST_F(FineIndexTest, EqualKeysAreAllFound) {
  Searched searched(std::vector<float>(300 * kHeadDim, 0.5F), kHeadDim, samples_,
                    SmallGraphOptions());
  const Request request(queries_, kHeadDim, {0, 300}, DiprTarget{});

  const auto found = searched.fine().Search(request.request);

  ASSERT_TRUE(found.ok());
  for (const QueryCandidates& query : found->queries) EXPECT_EQ(query.tokens.size(), 300);
}

TEST_F(FineIndexTest, ZeroKeysAreAllFound) {
  Searched searched(std::vector<float>(300 * kHeadDim, 0.0F), kHeadDim, samples_,
                    SmallGraphOptions());
  const Request request(queries_, kHeadDim, {0, 300}, DiprTarget{});

  const auto found = searched.fine().Search(request.request);

  ASSERT_TRUE(found.ok());
  for (const QueryCandidates& query : found->queries) EXPECT_EQ(query.tokens.size(), 300);
}

TEST_F(FineIndexTest, FewVisibleTokensAreScanned) {
  Searched searched(keys_, kHeadDim, samples_, SmallGraphOptions(), {.scan_tokens = 300});
  const Request request(queries_, kHeadDim, {100, 390}, TopKTarget{20});

  const auto found = searched.fine().Search(request.request);
  const auto expected = searched.exact().Search(request.request);

  ASSERT_TRUE(found.ok() && expected.ok());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(found->queries[i].tokens, expected->queries[i].tokens);
  }
  EXPECT_EQ(found->tokens_scored, expected->tokens_scored);
}

TEST_F(FineIndexTest, SaysWhichTargetsItAnswers) {
  Searched searched(keys_, kHeadDim, samples_, SmallGraphOptions());
  EXPECT_TRUE(FineIndex::Answers(DiprTarget{}));
  EXPECT_TRUE(FineIndex::Answers(TopKTarget{5}));
  EXPECT_FALSE(FineIndex::Answers(MassTarget{0.9}));
  EXPECT_FALSE(FineIndex::Answers(FullTarget{}));

  const Request request(queries_, kHeadDim, {0, kTokens}, MassTarget{0.9});
  EXPECT_EQ(searched.fine().Search(request.request).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(FineIndexTest, RefusesTheGraphOfOtherKeys) {
  Searched searched(keys_, kHeadDim, samples_, SmallGraphOptions());
  const ArrayKvReader fewer = ReaderOf(RandomKeys(kTokens - 1, kHeadDim, /*seed=*/1), kHeadDim);
  const ArrayKvReader longer =
      ReaderOf(RandomKeys(kTokens, 2 * kHeadDim, /*seed=*/1), 2 * kHeadDim);

  for (const ArrayKvReader* reader : {&fewer, &longer}) {
    EXPECT_EQ(FineIndex::Open(&searched.blocks(), reader).status().code(), StatusCode::kDataLoss);
  }
}

TEST_F(FineIndexTest, ErrorsOfKeysAndBlocksPassThrough) {
  const Request request(queries_, kHeadDim, {0, kTokens}, TopKTarget{50});
  {
    Searched searched(keys_, kHeadDim, samples_, SmallGraphOptions());
    searched.blocks().FailAt(1);
    EXPECT_EQ(searched.fine().Search(request.request).status().code(), StatusCode::kDataLoss);
  }
  Searched searched(keys_, kHeadDim, samples_, SmallGraphOptions());
  searched.reader().FailAt(KvKind::kKey, searched.fine().header().entries[1] / 16);
  EXPECT_EQ(searched.fine().Search(request.request).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(searched.reader().pin_count(), 0);
}

// Memory in which only so many blocks can be pinned.
class ScarceReader : public ArrayKvReader {
 public:
  using ArrayKvReader::ArrayKvReader;
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    if (pin_count() >= pins_max) return ResourceExhausted("all pinned");
    return ArrayKvReader::ReadBlock(kind, block_index);
  }
  int pins_max = std::numeric_limits<int>::max();
};

TEST_F(FineIndexTest, MakesDoWithThePinsThatMemoryAllows) {
  ScarceReader reader(keys_, keys_, kHeadDim, DType::kBF16, /*block_tokens=*/16);
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(
      BuildFineIndex(reader, Rows(samples_, kHeadDim), SmallGraphOptions(), blocks.Sink()).ok());
  const auto index = FineIndex::Open(&blocks, &reader, kNoScan);
  ASSERT_TRUE(index.ok());
  const Request request(queries_, kHeadDim, {0, kTokens}, TopKTarget{10});
  const auto expected = (*index)->Search(request.request);
  ASSERT_TRUE(expected.ok());

  reader.pins_max = 1;
  const auto found = (*index)->Search(request.request);

  ASSERT_TRUE(found.ok()) << found.status();
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(found->queries[i].tokens, expected->queries[i].tokens);
}

}  // namespace
}  // namespace alaya
