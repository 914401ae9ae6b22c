// What exact attention reads; what it computes is tested through the backend.

#include "index/attention/exact_attention.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "index/attention/gathered_attention.h"
#include "index/gather_pins.h"
#include "tests/index/array_kv_reader.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kBlockTokens = 8;

class ExactAttentionTest : public testing::Test {
 protected:
  ExactAttentionTest()
      : reader_(RandomFloats(40 * kHeadDim, 1.0F, 1), RandomFloats(40 * kHeadDim, 1.0F, 2),
                kHeadDim, DType::kF32, kBlockTokens),
        queries_(RandomFloats(2 * kHeadDim, 1.0F, 3)),
        output_(2 * kHeadDim),
        log_sum_exp_(2),
        total_{{output_.data(), 2, kHeadDim}, log_sum_exp_} {
    ClearAttention(total_);
  }

  ArrayKvReader reader_;
  std::vector<float> queries_;
  std::vector<float> output_;
  std::vector<float> log_sum_exp_;
  AttentionPart total_;
};

TEST_F(ExactAttentionTest, ReadsOnlyBlocksThatAQuerySees) {
  const std::vector<TokenRange> visible = {{3, 5}, {26, 27}};

  const auto scored =
      AddExactAttention({{queries_.data(), 2, kHeadDim}, visible, &reader_, 1.0F}, total_, {});

  ASSERT_TRUE(scored.ok());
  EXPECT_EQ(*scored, 3);
  for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
    for (size_t block = 0; block < 5; ++block) {
      EXPECT_EQ(reader_.was_read(kind, block), block == 0 || block == 3);
    }
  }
  EXPECT_LE(reader_.pin_count_max(), 2);
}

TEST_F(ExactAttentionTest, AQueryThatSeesNothingKeepsItsTotal) {
  const std::vector<TokenRange> visible = {{0, 40}, {7, 7}};
  total_.output.row(1)[0] = 5.0F;
  log_sum_exp_[1] = 1.5F;
  std::vector<float> best = {-std::numeric_limits<float>::infinity(), 9.0F};

  const auto scored =
      AddExactAttention({{queries_.data(), 2, kHeadDim}, visible, &reader_, 1.0F}, total_, best);

  ASSERT_TRUE(scored.ok());
  EXPECT_EQ(total_.output.row(1)[0], 5.0F);
  EXPECT_EQ(log_sum_exp_[1], 1.5F);
  EXPECT_EQ(best[1], 9.0F);
  EXPECT_GT(best[0], -100.0F);
}

TEST_F(ExactAttentionTest, RangesBehindTheReaderAreNotVisible) {
  const std::vector<TokenRange> visible = {{38, 1000}, {500, 1000}};

  const auto scored =
      AddExactAttention({{queries_.data(), 2, kHeadDim}, visible, &reader_, 1.0F}, total_, {});

  ASSERT_TRUE(scored.ok());
  EXPECT_EQ(*scored, 2);
  EXPECT_EQ(log_sum_exp_[1], -std::numeric_limits<float>::infinity());
}

TEST_F(ExactAttentionTest, GatheredAttentionReadsOnlyValuesOfBlocksWithATokens) {
  const std::vector<std::vector<ScoredToken>> tokens = {{{9, 1.0F}, {33, 0.5F}}, {{10, 2.0F}}};

  ASSERT_TRUE(AddGatheredAttention({tokens, &reader_, 1.0F}, total_).ok());

  for (size_t block = 0; block < 5; ++block) {
    EXPECT_FALSE(reader_.was_read(KvKind::kKey, block));
    EXPECT_EQ(reader_.was_read(KvKind::kValue, block), block == 1 || block == 4);
  }
  EXPECT_LE(reader_.pin_count_max(), static_cast<int>(GatherPins::kMax));
  EXPECT_EQ(log_sum_exp_[1], 2.0F);  // one token: its logit
  for (size_t e = 0; e < kHeadDim; ++e)
    EXPECT_FLOAT_EQ(total_.output.row(1)[e], reader_.value(10)[e]);
}

}  // namespace
}  // namespace alaya
