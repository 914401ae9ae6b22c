#include "cuda/backend/missed_rows.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "cuda/kernels/sparse_task.h"
#include "index/attention/exact_attention.h"
#include "tests/cuda/backend/made_part.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {500, 1, 64, DType::kF16};
constexpr float kScale = 0.125F;
constexpr size_t kQueries = 3;

class MissedRowsTest : public testing::Test {
 protected:
  MissedRowsTest() : output_(kQueries * 64), log_sum_exp_(kQueries) { ClearAttention(total()); }

  AttentionPart total() { return {{output_.data(), kQueries, 64}, log_sum_exp_}; }
  static uint32_t Entry(uint32_t token, uint32_t queries) {
    return queries << MissedRows::kTokenBits | token;
  }
  StatusOr<std::vector<uint64_t>> Add(const std::vector<uint32_t>& entries, size_t rows_wanted) {
    const auto use = [&](std::span<const uint32_t> tokens, std::span<const std::byte* const> keys,
                         std::span<const std::byte* const> values) {
      ++use_count_;
      for (size_t i = 0; i < tokens.size(); ++i) {
        EXPECT_EQ(std::memcmp(keys[i], part_.head(0).row(KvKind::kKey, tokens[i]), 128), 0);
        EXPECT_EQ(std::memcmp(values[i], part_.head(0).row(KvKind::kValue, tokens[i]), 128), 0);
      }
      shown_.assign(tokens.begin(), tokens.end());
    };
    return AddMissedRows({part_.Matrix(queries_), entries, &part_.head(0), kScale}, rows_wanted,
                         use, total());
  }
  void ExpectAttention(size_t query, const std::vector<uint32_t>& tokens) {
    const ExactAttention expected =
        AttendTokens(ExactScores(part_.Matrix(queries_).row(query), part_.head(0).keys()),
                     part_.head(0).values(), kScale, tokens);
    EXPECT_NEAR(log_sum_exp_[query], expected.log_sum_exp, 1e-4);
    EXPECT_LT(OutputError(total().output.row(query), expected.output), 1e-4);
  }

  MadePart part_{1, kShape};
  std::vector<float> queries_ = part_.Queries(kQueries, 7);
  std::vector<float> output_;
  std::vector<float> log_sum_exp_;
  std::vector<uint32_t> shown_;
  int use_count_ = 0;
};

TEST_F(MissedRowsTest, EveryQueryAttendsToTheTokensThatHaveItsBit) {
  const auto counts = Add({Entry(3, 1), Entry(64, 7), Entry(65, 2), Entry(499, 1)}, 3);

  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(*counts, (std::vector<uint64_t>{3, 2, 1}));
  ExpectAttention(0, {3, 64, 499});
  ExpectAttention(1, {64, 65});
  ExpectAttention(2, {64});
  EXPECT_EQ(shown_, (std::vector<uint32_t>{3, 64, 65}));
  EXPECT_EQ(use_count_, 1);
}

TEST_F(MissedRowsTest, NothingMissedChangesNothing) {
  const auto counts = Add({}, 10);

  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(*counts, std::vector<uint64_t>(kQueries));
  EXPECT_EQ(log_sum_exp_[0], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(use_count_, 0);
}

TEST_F(MissedRowsTest, ADamagedBlockIsAnError) {
  part_.Damage();

  EXPECT_EQ(Add({Entry(3, 1)}, 10).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
