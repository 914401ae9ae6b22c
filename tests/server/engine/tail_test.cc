#include "server/engine/tail.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>
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

// Tokens whose every row tells which one it is: [T, 2, 8] of 16-bit elements.
std::vector<uint16_t> Tokens(uint64_t begin, uint64_t count, uint16_t mark) {
  std::vector<uint16_t> elements;
  for (uint64_t token = begin; token < begin + count; ++token) {
    for (uint16_t head = 0; head < 2; ++head) {
      elements.insert(elements.end(), 8, static_cast<uint16_t>(token * 8 + head + mark));
    }
  }
  return elements;
}

Status AppendMarked(Tail* tail, uint64_t count, uint16_t mark, LayerIndex layer = kLayer) {
  const uint64_t begin = tail->token_count(layer);
  const auto keys = Tokens(begin, count, mark);
  const auto values = Tokens(begin, count, static_cast<uint16_t>(mark + 4));
  return tail->Append(layer, std::as_bytes(std::span(keys)), std::as_bytes(std::span(values)));
}

// First element of a token's row, as a reader finds it.
uint16_t ElementAt(const Tail& tail, KvKind kind, uint32_t head, uint64_t token) {
  const TailReader reader(tail, kLayer, KvHeadIndex{head}, 8);
  const auto block = reader.ReadBlock(kind, token / reader.block_tokens());
  EXPECT_TRUE(block.ok());
  uint16_t element = 0;
  std::memcpy(&element, block->rows.row(token % reader.block_tokens()), sizeof(element));
  return element;
}

void ExpectMarked(const Tail& tail, TokenRange range, uint16_t mark) {
  for (uint64_t token = range.begin; token < range.end; ++token) {
    for (uint16_t head = 0; head < 2; ++head) {
      const auto expected = static_cast<uint16_t>(token * 8 + head + mark);
      ASSERT_EQ(ElementAt(tail, KvKind::kKey, head, token), expected) << token;
      ASSERT_EQ(ElementAt(tail, KvKind::kValue, head, token), expected + 4) << token;
    }
  }
}

class TailAppendTest : public testing::TestWithParam<std::vector<uint64_t>> {};

TEST_P(TailAppendTest, HoldsEveryTokenWhereItBelongs) {
  TailBudget budget(1 << 20);
  Tail tail(SmallModel(), &budget);
  uint64_t total = 0;

  for (const uint64_t count : GetParam()) {
    ASSERT_TRUE(AppendMarked(&tail, count, 0).ok());
    total += count;
  }

  EXPECT_EQ(tail.token_count(kLayer), total);
  EXPECT_EQ(tail.token_count(LayerIndex{0}), 0U);
  EXPECT_EQ(TailReader(tail, kLayer, KvHeadIndex{0}, 8).block_count(),
            (total + kTailBlockTokens - 1) / kTailBlockTokens);
  ExpectMarked(tail, {0, total}, 0);
}

INSTANTIATE_TEST_SUITE_P(Counts, TailAppendTest,
                         testing::Values(std::vector<uint64_t>{1}, std::vector<uint64_t>{16, 1},
                                         std::vector<uint64_t>{15, 2, 100, 20},
                                         std::vector<uint64_t>{kTailBlockTokens},
                                         std::vector<uint64_t>{kTailBlockTokens - 1, 1, 1},
                                         std::vector<uint64_t>{1000, 1, 300}));

TEST(TailTest, MemoryIsCountedAndReturned) {
  TailBudget budget(1 << 20);
  {
    Tail tail(SmallModel(), &budget);
    EXPECT_EQ(tail.bytes(), 0U);
    ASSERT_TRUE(AppendMarked(&tail, 300, 0).ok());
    EXPECT_GE(tail.bytes(), 300U * 2 * 2 * 8 * 2);
    EXPECT_EQ(tail.bytes(), budget.used_bytes());

    tail.Truncate(kLayer, 128);

    EXPECT_EQ(tail.bytes(), 128U * 2 * 2 * 8 * 2);
    EXPECT_EQ(tail.bytes(), budget.used_bytes());
  }

  EXPECT_EQ(budget.used_bytes(), 0U);
}

TEST(TailTest, AnAppendBeyondTheBudgetChangesNothing) {
  TailBudget budget(uint64_t{3} * kTailBlockTokens * 64);  // three blocks
  Tail tail(SmallModel(), &budget);
  ASSERT_TRUE(AppendMarked(&tail, 200, 0).ok());
  const uint64_t used_bytes = budget.used_bytes();

  const Status status = AppendMarked(&tail, 300, 0);

  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(Message(status).find("max_tail_bytes_total"), std::string_view::npos);
  EXPECT_EQ(tail.token_count(kLayer), 200U);
  EXPECT_EQ(budget.used_bytes(), used_bytes);
  ExpectMarked(tail, {0, 200}, 0);
  EXPECT_TRUE(AppendMarked(&tail, 100, 0).ok());
}

TEST(TailTest, AForkSharesMemoryUntilItIsWritten) {
  TailBudget budget(1 << 20);
  Tail tail(SmallModel(), &budget);
  ASSERT_TRUE(AppendMarked(&tail, 300, 0).ok());
  const uint64_t used_bytes = budget.used_bytes();

  Tail fork = tail.Fork();
  EXPECT_EQ(budget.used_bytes(), used_bytes);
  ASSERT_TRUE(AppendMarked(&fork, 1, 1000).ok());
  ASSERT_TRUE(AppendMarked(&tail, 2, 2000).ok());

  ExpectMarked(fork, {0, 300}, 0);
  ExpectMarked(fork, {300, 301}, 1000);
  ExpectMarked(tail, {0, 300}, 0);
  ExpectMarked(tail, {300, 302}, 2000);
}

TEST(TailTest, AForkIsUntouchedByTruncationOfTheOriginal) {
  TailBudget budget(1 << 20);
  Tail tail(SmallModel(), &budget);
  ASSERT_TRUE(AppendMarked(&tail, 300, 0).ok());
  Tail fork = tail.Fork();

  tail.Truncate(kLayer, 100);
  ASSERT_TRUE(AppendMarked(&tail, 250, 3000).ok());

  ExpectMarked(fork, {0, 300}, 0);
  ExpectMarked(tail, {0, 100}, 0);
  ExpectMarked(tail, {100, 350}, 3000);
}

TEST(TailTest, AForkLivesLongerThanTheOriginal) {
  TailBudget budget(1 << 20);
  auto tail = std::make_unique<Tail>(SmallModel(), &budget);
  ASSERT_TRUE(AppendMarked(tail.get(), 40, 0).ok());
  Tail fork = tail->Fork();

  tail.reset();

  ExpectMarked(fork, {0, 40}, 0);
  ASSERT_TRUE(AppendMarked(&fork, 5, 0).ok());
  ExpectMarked(fork, {0, 45}, 0);
}

}  // namespace
}  // namespace alaya
