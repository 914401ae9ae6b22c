#include "index/attention/gathered_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "index/attention/exact_attention.h"
#include "index/gather_pins.h"
#include "tests/index/array_kv_reader.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kTokens = 60;
constexpr size_t kBlockTokens = 8;
constexpr float kScale = 0.25F;

// Every step-th token with some score.
std::vector<ScoredToken> EveryNth(uint32_t first, uint32_t step) {
  const std::vector<float> scores = RandomFloats(kTokens, 3.0F, /*seed=*/step);
  std::vector<ScoredToken> tokens;
  for (uint32_t token = first; token < kTokens; token += step) {
    tokens.push_back({token, scores[token]});
  }
  return tokens;
}

class GatheredAttentionTest : public testing::Test {
 protected:
  GatheredAttentionTest()
      : values_(RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/100)),
        reader_(values_, values_, kHeadDim, DType::kF32, kBlockTokens) {}

  Status Attend(const std::vector<std::vector<ScoredToken>>& tokens) {
    output_.assign(tokens.size() * kHeadDim, 0);
    log_sum_exp_.assign(tokens.size(), 0);
    const AttentionPart total = {{output_.data(), tokens.size(), kHeadDim}, log_sum_exp_};
    ClearAttention(total);
    return AddGatheredAttention({tokens, &reader_, kScale}, total);
  }

  // By definition, in double.
  void ExpectAttention(size_t query, const std::vector<ScoredToken>& tokens) const {
    double denominator = 0;
    std::vector<double> expected(kHeadDim);
    for (const ScoredToken& token : tokens) {
      const double weight = std::exp(double{kScale} * double{token.score});
      denominator += weight;
      for (size_t e = 0; e < kHeadDim; ++e) {
        expected[e] += weight * double{values_[token.token * kHeadDim + e]};
      }
    }
    EXPECT_NEAR(log_sum_exp_[query], std::log(denominator), 1e-5);
    for (size_t e = 0; e < kHeadDim; ++e) {
      EXPECT_NEAR(output_[query * kHeadDim + e], expected[e] / denominator, 1e-5) << e;
    }
  }

  const std::vector<float> values_;
  ArrayKvReader reader_;
  std::vector<float> output_;
  std::vector<float> log_sum_exp_;
};

TEST_F(GatheredAttentionTest, IsTheAttentionOverEachQuerysTokens) {
  // All tokens of all blocks, most of them, few, and one alone.
  const std::vector<std::vector<ScoredToken>> tokens = {EveryNth(0, 1), EveryNth(1, 2),
                                                        EveryNth(3, 17), EveryNth(59, 1)};

  ASSERT_TRUE(Attend(tokens).ok());
  for (size_t i = 0; i < tokens.size(); ++i) ExpectAttention(i, tokens[i]);

  EXPECT_EQ(reader_.fetched(), reader_.read());
  EXPECT_TRUE(reader_.announced().empty());

  // The same one after the other: what the others take decides how a block is read.
  for (const std::vector<ScoredToken>& alone : tokens) {
    ASSERT_TRUE(Attend({alone}).ok());
    ExpectAttention(0, alone);
  }
}

TEST_F(GatheredAttentionTest, MergesWithWhatIsAttendedAlready) {
  const std::vector<ScoredToken> all = EveryNth(0, 1);
  std::vector<std::vector<ScoredToken>> first = {{all.begin(), all.begin() + 20}};
  const std::vector<std::vector<ScoredToken>> second = {{all.begin() + 20, all.end()}};
  ASSERT_TRUE(Attend(first).ok());

  ASSERT_TRUE(AddGatheredAttention({second, &reader_, kScale},
                                   {{output_.data(), 1, kHeadDim}, log_sum_exp_})
                  .ok());

  ExpectAttention(0, all);
}

TEST_F(GatheredAttentionTest, ReadsOnlyTheValuesOfBlocksWithAToken) {
  ASSERT_TRUE(Attend({{{2, 1.0F}}, {{2, 0.5F}, {42, 2.0F}}}).ok());

  for (size_t block = 0; block < reader_.block_count(); ++block) {
    EXPECT_EQ(reader_.was_read(KvKind::kValue, block), block == 0 || block == 5) << block;
    EXPECT_FALSE(reader_.was_read(KvKind::kKey, block));
  }
  EXPECT_EQ(reader_.pin_count(), 0);
}

TEST_F(GatheredAttentionTest, PinsAFewBlocksAtATime) {
  constexpr size_t kManyBlocks = 2 * GatherPins::kMaxInMemory;
  const std::vector<float> values = RandomFloats(kManyBlocks * kBlockTokens * kHeadDim, 1.0F, 5);
  std::vector<std::vector<ScoredToken>> tokens(1);
  for (uint32_t block = 0; block < kManyBlocks; ++block) {
    tokens[0].push_back({block * static_cast<uint32_t>(kBlockTokens), 1.0F});
  }
  for (const bool in_memory : {true, false}) {
    ArrayKvReader reader(values, values, kHeadDim, DType::kF32, kBlockTokens);
    reader.set_in_memory(in_memory);
    std::vector<float> output(kHeadDim);
    std::vector<float> log_sum_exp(1);
    const AttentionPart total = {{output.data(), 1, kHeadDim}, log_sum_exp};
    ClearAttention(total);

    ASSERT_TRUE(AddGatheredAttention({tokens, &reader, kScale}, total).ok());

    const size_t pinned_max = in_memory ? GatherPins::kMaxInMemory : GatherPins::kMax;
    EXPECT_EQ(reader.pin_count_max(), static_cast<int>(pinned_max));
    EXPECT_EQ(reader.pin_count(), 0);
  }
}

TEST_F(GatheredAttentionTest, AQueryWithoutTokensKeepsItsTotal) {
  ASSERT_TRUE(Attend({EveryNth(0, 3), {}}).ok());

  EXPECT_EQ(log_sum_exp_[1], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::all_of(output_.begin() + kHeadDim, output_.end(),
                          [](float element) { return element == 0; }));
}

TEST_F(GatheredAttentionTest, AnErrorOfTheReaderPassesThrough) {
  reader_.FailAt(KvKind::kValue, 5);

  EXPECT_TRUE(Attend({{{2, 1.0F}}}).ok());
  EXPECT_EQ(Attend({{{42, 1.0F}}}).code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
