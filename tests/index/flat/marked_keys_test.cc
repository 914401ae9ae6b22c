#include "index/flat/marked_keys.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "index/kernels/key_scores.h"
#include "tests/index/array_kv_reader.h"

namespace alaya {
namespace {

TEST(TokenMarksTest, ListsWhatWasMarkedInAnyRange) {
  TokenMarks marks;
  marks.Reset(500);
  std::mt19937 random(/*seed=*/3);
  std::vector<bool> expected(500);
  for (size_t i = 0; i < 120; ++i) {
    const auto token = static_cast<uint32_t>(random() % 500);
    marks.MarkAll({&token, 1});
    expected[token] = true;
  }
  for (const size_t begin : std::vector<size_t>{0, 1, 63, 64, 65, 200, 499}) {
    for (const size_t end : std::vector<size_t>{begin, begin + 1, 256, 320, 499, 500}) {
      if (end < begin || end > 500) continue;
      std::vector<uint32_t> listed(500);
      listed.resize(marks.List(begin, end, listed));
      std::vector<uint32_t> wanted;
      for (size_t token = begin; token < end; ++token) {
        if (expected[token]) wanted.push_back(static_cast<uint32_t>(token - begin));
      }
      EXPECT_EQ(listed, wanted) << begin << " to " << end;
    }
  }
}

TEST(TokenMarksTest, ClearsARange) {
  TokenMarks marks;
  marks.Reset(300);
  for (size_t token = 0; token < 300; token += 3) marks.Mark(token);
  marks.Clear(128, 256);
  std::vector<uint32_t> listed(300);
  listed.resize(marks.List(0, 300, listed));
  for (const uint32_t token : listed) EXPECT_TRUE(token < 128 || token >= 256);
  EXPECT_EQ(listed.size(), 100U - 43U);
}

TEST(TokenMarksTest, ResetClearsAll) {
  TokenMarks marks;
  marks.Reset(100);
  marks.Mark(7);
  marks.Reset(100);
  std::vector<uint32_t> listed(100);
  EXPECT_EQ(marks.List(0, 100, listed), 0U);
}

// Scores of one in `step` tokens, to the last bit those of the whole block.
void ExpectScoresOfEvery(size_t step, size_t block_tokens, DType dtype) {
  constexpr size_t kTokenCount = 1000;
  constexpr size_t kHeadDim = 72;
  const ArrayKvReader keys(RandomFloats(kTokenCount * kHeadDim, 1.0F, 1), {}, kHeadDim, dtype,
                           block_tokens);
  const std::vector<float> queries = RandomFloats(5 * kHeadDim, 1.0F, 2);
  const MatrixView<const float> query_rows(queries.data(), 5, kHeadDim);
  TokenMarks marks;
  marks.Reset(kTokenCount);
  for (size_t token = step / 2; token < kTokenCount; token += step) marks.Mark(token);
  std::vector<bool> seen(kTokenCount);
  uint64_t given = 0;
  uint32_t next = 0;

  const auto scored =
      ScoreMarkedKeys(keys, marks, query_rows,
                      [&](std::span<const uint32_t> tokens, MatrixView<const float> scores) {
                        ASSERT_EQ(scores.cols(), tokens.size());
                        for (size_t i = 0; i < tokens.size(); ++i) {
                          ASSERT_GE(tokens[i], next);
                          next = tokens[i] + 1;
                          seen[tokens[i]] = true;
                          std::vector<float> expected(5);
                          const auto block = keys.ReadBlock(KvKind::kKey, tokens[i] / block_tokens);
                          KeyScores(query_rows, block->rows.rows_range(tokens[i] % block_tokens, 1),
                                    {expected.data(), 5, 1});
                          for (size_t q = 0; q < 5; ++q) ASSERT_EQ(scores.row(q)[i], expected[q]);
                          given += 5;
                        }
                      });

  ASSERT_TRUE(scored.ok());
  EXPECT_EQ(*scored, given);
  for (size_t token = step / 2; token < kTokenCount; token += step) EXPECT_TRUE(seen[token]);
}

TEST(ScoreMarkedKeysTest, GivesTheScoresOfWholeBlocksToTheLastBit) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const size_t step : std::vector<size_t>{1, 2, 3, 7, 100, 999}) {
      for (const size_t block_tokens : std::vector<size_t>{1, 16, 250, 1000}) {
        ExpectScoresOfEvery(step, block_tokens, dtype);
      }
    }
  }
}

TEST(ScoreMarkedKeysTest, AnnouncesTheBlocksThatItReads) {
  for (const bool in_memory : {false, true}) {
    ArrayKvReader keys(RandomFloats(size_t{5000} * 8, 1.0F, 1), {}, 8, DType::kF32, 10);
    keys.set_in_memory(in_memory);
    const std::vector<float> query = RandomFloats(8, 1.0F, 2);
    TokenMarks marks;
    marks.Reset(5000);
    for (size_t token = 7; token < 5000; token += 17) marks.Mark(token);

    ASSERT_TRUE(ScoreMarkedKeys(keys, marks, {query.data(), 1, 8}, [](auto, auto) {}).ok());

    EXPECT_EQ(in_memory ? keys.fetched() : keys.announced(), keys.read());
    EXPECT_TRUE((in_memory ? keys.announced() : keys.fetched()).empty());
  }
}

TEST(TokenMarksTest, NextIsTheFirstMarkInTheRange) {
  TokenMarks marks;
  marks.Reset(1000);
  for (const size_t token : std::vector<size_t>{3, 64, 700}) marks.Mark(token);
  EXPECT_EQ(marks.Next(0, 1000), 3U);
  EXPECT_EQ(marks.Next(3, 1000), 3U);
  EXPECT_EQ(marks.Next(4, 1000), 64U);
  EXPECT_EQ(marks.Next(65, 1000), 700U);
  EXPECT_EQ(marks.Next(701, 1000), 1000U);
  EXPECT_EQ(marks.Next(65, 700), 700U);  // none: the end
  EXPECT_EQ(marks.Next(4, 64), 64U);
  EXPECT_EQ(marks.Next(4, 10), 10U);
  EXPECT_EQ(marks.Next(1000, 1000), 1000U);
  EXPECT_EQ(marks.Next(5, 4), 4U);
}

// Marks may come while what was marked before is scored.
TEST(MarkedKeyScorerTest, ScoresWhatWasMarkedInTime) {
  constexpr size_t kTokenCount = 1000;
  const ArrayKvReader keys(RandomFloats(kTokenCount * 8, 1.0F, 1), {}, 8, DType::kF32, 32);
  const std::vector<float> query = RandomFloats(8, 1.0F, 2);
  std::mt19937 random(/*seed=*/5);
  for (const size_t marked_share : std::vector<size_t>{2, 10, 300}) {
    TokenMarks marks;
    marks.Reset(kTokenCount);
    std::vector<bool> expected(kTokenCount);
    std::vector<bool> scored(kTokenCount);
    const UseScores use = [&](std::span<const uint32_t> tokens, MatrixView<const float> scores) {
      ASSERT_EQ(scores.cols(), tokens.size());
      for (const uint32_t token : tokens) {
        ASSERT_FALSE(scored[token]);
        scored[token] = true;
      }
    };
    MarkedKeyScorer scorer(&keys, &marks, {query.data(), 1, 8}, &use);
    for (size_t begin = 0; begin < kTokenCount; begin += 100) {
      for (size_t token = begin; token < begin + 100; ++token) {
        expected[token] = random() % marked_share == 0;
        if (expected[token]) marks.Mark(token);
      }
      ASSERT_TRUE(scorer.ScoreBefore(begin + 100).ok());
      // All of them are in memory.
      EXPECT_LE(keys.pin_count(), 33);
    }

    ASSERT_TRUE(scorer.Finish().ok());

    for (size_t token = 0; token < kTokenCount; ++token) {
      // Of a block with many marks all tokens are scored.
      EXPECT_TRUE(scored[token] || !expected[token]) << token;
    }
    EXPECT_EQ(keys.pin_count(), 0);
  }
}

TEST(ScoreMarkedKeysTest, ReadsOnlyBlocksWithMarksAndPassesTheirErrorsOn) {
  ArrayKvReader keys(RandomFloats(100 * 8, 1.0F, 1), {}, 8, DType::kF32, 10);
  const std::vector<float> query(8, 1.0F);
  TokenMarks marks;
  marks.Reset(100);
  marks.Mark(35);
  const auto score = [&] {
    return ScoreMarkedKeys(keys, marks, {query.data(), 1, 8},
                           [](std::span<const uint32_t>, MatrixView<const float>) {});
  };
  keys.FailAt(KvKind::kKey, 2);
  ASSERT_TRUE(score().ok());
  EXPECT_TRUE(keys.was_read(KvKind::kKey, 3));
  EXPECT_FALSE(keys.was_read(KvKind::kKey, 4));
  keys.FailAt(KvKind::kKey, 3);
  EXPECT_EQ(score().status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(keys.pin_count(), 0);
}

}  // namespace
}  // namespace alaya
