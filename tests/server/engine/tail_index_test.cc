#include "server/engine/tail_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

namespace alaya {
namespace {

constexpr LayerIndex kLayer{1};

Model SmallModel() {
  return {.name = "small",
          .num_layers = 3,
          .num_query_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 8,
          .dtype = DType::kF16};
}

// The best token of an index for a query of ones.
ScoredToken BestToken(const TokenIndex& index, uint64_t token_count) {
  const std::vector<float> query(8, 1.0F);
  const std::vector<TokenRange> visible = {{0, token_count}};
  const std::vector<float> best = {-std::numeric_limits<float>::infinity()};
  SearchRequest request;
  request.queries = {query.data(), 1, query.size()};
  request.visible = visible;
  request.target = DiprTarget{1.0};
  request.best_scores = best;
  const auto found = index.Search(request);
  EXPECT_TRUE(found.ok()) << Message(found.status());
  if (!found.ok() || found->queries[0].tokens.empty()) return {};
  return *std::max_element(found->queries[0].tokens.begin(), found->queries[0].tokens.end(),
                           [](const auto& a, const auto& b) { return a.score < b.score; });
}

// Appends `count` tokens: key elements of head 0 are token % 977 / 64, of head 1 their
// negatives; values are 1.
Status AppendCounting(Tail* tail, uint64_t count) {
  const uint64_t begin = tail->token_count(kLayer);
  std::vector<uint16_t> keys;
  for (uint64_t token = begin; token < begin + count; ++token) {
    for (const float sign : {1.0F, -1.0F}) {
      const auto half = static_cast<_Float16>(sign * static_cast<float>(token % 977) / 64);
      keys.insert(keys.end(), 8, std::bit_cast<uint16_t>(half));
    }
  }
  const std::vector<uint16_t> values(keys.size(), 0x3C00);
  return tail->Append(kLayer, std::as_bytes(std::span(keys)), std::as_bytes(std::span(values)));
}

TEST(TailIndexTest, ALongLayerIsIndexedAndAShortOneIsNot) {
  TailBudget budget(1 << 24);
  Tail tail(SmallModel(), &budget, /*index_min_tokens=*/600);
  ASSERT_TRUE(AppendCounting(&tail, 599).ok());
  EXPECT_EQ(tail.index(kLayer, KvHeadIndex{0}), nullptr);
  const uint64_t bytes_before = tail.bytes();

  ASSERT_TRUE(AppendCounting(&tail, 500).ok());

  ASSERT_NE(tail.index(kLayer, KvHeadIndex{0}), nullptr);
  EXPECT_EQ(tail.index(LayerIndex{0}, KvHeadIndex{0}), nullptr);
  EXPECT_EQ(BestToken(*tail.index(kLayer, KvHeadIndex{0}), 1099).token, 976U);
  EXPECT_GT(tail.bytes(), bytes_before);
  EXPECT_EQ(budget.used_bytes(), tail.bytes());
}

TEST(TailIndexTest, ItFollowsAppendsAndTruncations) {
  TailBudget budget(1 << 24);
  Tail tail(SmallModel(), &budget, /*index_min_tokens=*/600);
  ASSERT_TRUE(AppendCounting(&tail, 900).ok());
  EXPECT_EQ(BestToken(*tail.index(kLayer, KvHeadIndex{0}), 900).token, 899U);

  tail.Truncate(kLayer, 500);

  ASSERT_NE(tail.index(kLayer, KvHeadIndex{0}), nullptr);
  EXPECT_EQ(BestToken(*tail.index(kLayer, KvHeadIndex{0}), 500).token, 499U);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(AppendCounting(&tail, 1).ok());
  EXPECT_EQ(BestToken(*tail.index(kLayer, KvHeadIndex{0}), 800).token, 799U);

  tail.Truncate(kLayer, 100);

  EXPECT_EQ(tail.index(kLayer, KvHeadIndex{0}), nullptr);
  EXPECT_EQ(budget.used_bytes(), tail.bytes());
}

TEST(TailIndexTest, AForkIndexesItsOwnTokens) {
  TailBudget budget(1 << 24);
  Tail tail(SmallModel(), &budget, /*index_min_tokens=*/600);
  ASSERT_TRUE(AppendCounting(&tail, 700).ok());

  Tail fork = tail.Fork();
  EXPECT_EQ(fork.index(kLayer, KvHeadIndex{0}), nullptr);
  ASSERT_TRUE(AppendCounting(&fork, 50).ok());

  EXPECT_EQ(BestToken(*fork.index(kLayer, KvHeadIndex{0}), 750).token, 749U);
  EXPECT_EQ(BestToken(*tail.index(kLayer, KvHeadIndex{0}), 700).token, 699U);
}

TEST(TailIndexTest, WithoutRoomTheTailStaysWithoutAnIndex) {
  // 700 tokens take 6 blocks of 128 tokens, 2 heads, keys and values of 16 bytes.
  TailBudget budget(6 * 128 * 2 * 2 * 16 + 100);
  Tail tail(SmallModel(), &budget, /*index_min_tokens=*/600);

  ASSERT_TRUE(AppendCounting(&tail, 700).ok());

  EXPECT_EQ(tail.token_count(kLayer), 700U);
  EXPECT_EQ(tail.index(kLayer, KvHeadIndex{0}), nullptr);
  EXPECT_EQ(budget.used_bytes(), tail.bytes());
}

}  // namespace
}  // namespace alaya
