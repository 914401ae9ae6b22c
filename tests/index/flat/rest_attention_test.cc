// Weights and means by hand: what is summed over which groups. How near the estimate
// comes to attention is in flat_search_test.cc and rest_estimate_test.cc.

#include "index/flat/rest_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/kernels/bf16.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 8;
constexpr size_t kTokens = 200;  // four groups, the last one with 8 tokens
constexpr size_t kStride = 256;
constexpr float kScale = 0.5F;

// One block; the mean of group g is g + 1 in all elements.
class OneBlock : public FlatSource {
 public:
  OneBlock() {
    header_.head_dim = kHeadDim;
    header_.token_count = kTokens;
    header_.block_tokens = FlatBlockTokens(kHeadDim);
    const size_t bytes = FlatBlockBytes(kHeadDim, kTokens);
    memory_ = hwy::AllocateAligned<std::byte>(bytes);
    std::fill_n(memory_.get(), bytes, std::byte{0});
    StartFlatBlock(kHeadDim, 0, kTokens, {memory_.get(), bytes});
    const MutableFlatBlock block = MutableFlatBlockOf(kHeadDim, kTokens, {memory_.get(), bytes});
    for (size_t group = 0; group < 4; ++group) {
      std::fill_n(block.value_means + group * kHeadDim, kHeadDim,
                  RoundUpToBF16(static_cast<float>(group + 1)));
      block.value_deviations[group] = 0.5F;
    }
    block_ = *DecodeFlatBlock(header_, 0, {memory_.get(), bytes});
  }
  const FlatHeader& header() const override { return header_; }
  Status MapQueries(MatrixView<const float>, MatrixView<float>) const override {
    return Internal("nobody searches");
  }
  StatusOr<PinnedFlatBlock> Block(size_t) const override {
    return PinnedFlatBlock{block_, BlockPin()};
  }

 private:
  FlatHeader header_;
  hwy::AlignedFreeUniquePtr<std::byte[]> memory_;
  FlatBlock block_;
};

class RestAttentionTest : public testing::Test {
 protected:
  RestAttentionTest() : memory_(queries_.size() * kStride, 1.0F) {
    for (size_t q = 0; q < queries_.size(); ++q) scores_.row(q)[70] = 3;
    request_.queries = {unused_.data(), queries_.size(), kHeadDim};
    request_.scale = kScale;
    request_.estimate_rest = true;
    request_.rest_error = 0.3;
  }

  RestAttention Scanned() {
    RestAttention rest(&source_, &request_, queries_);
    rest.AddBlock(source_.Block(0)->block, {});
    for (size_t q = 0; q < queries_.size(); ++q) {
      const bool sees_top = queries_[q].covered.contains(70);
      rest.AddScores(q, Seen(q), sees_top ? scores_.row(q)[70] : 1);
    }
    rest.SetTolerances();
    return rest;
  }

  std::span<const float> Seen(size_t q) const {
    return scores_.row(q).subspan(queries_[q].covered.begin, queries_[q].covered.size());
  }

  OneBlock source_;
  SearchRequest request_;
  // All tokens; from the middle of a group to the middle of another; none.
  std::vector<RestQuery> queries_ = {{{0, kTokens}, 1, 0.35}, {{100, 195}, 1, 0.35}, {{}, 1, 0.35}};
  std::vector<float> memory_;
  MatrixView<float> scores_{memory_.data(), 3, kStride};
  std::vector<float> unused_ = std::vector<float>(3 * kHeadDim);
};

TEST_F(RestAttentionTest, WeighsTheMeansOfGroupsByTheTokensLeft) {
  RestAttention rest = Scanned();
  rest.LeaveOut(0, std::vector<ScoredToken>{{70, 3}, {5, 1}});
  SearchResult result;

  ASSERT_TRUE(rest.Attend(&result).ok());

  const double weight = std::exp(0.5);
  const double all = 63 * 1 + 63 * 2 + 64 * 3 + 8 * 4;
  const double part = 28 * 2 + 64 * 3 + 3 * 4;
  EXPECT_NEAR(result.rest_log_sum_exp[0], std::log(198 * weight), 4e-3);
  EXPECT_NEAR(result.rest_log_sum_exp[1], std::log(95 * weight), 4e-3);
  for (size_t e = 0; e < kHeadDim; ++e) {
    EXPECT_NEAR(result.rest_output[e], all / 198, 4e-3);
    EXPECT_NEAR(result.rest_output[kHeadDim + e], part / 95, 4e-3);
    EXPECT_EQ(result.rest_output[2 * kHeadDim + e], 0);
  }
  EXPECT_EQ(result.rest_log_sum_exp[2], -std::numeric_limits<float>::infinity());
}

TEST_F(RestAttentionTest, OneFarHeavierTokenIsToBeAttended) {
  for (size_t q = 0; q < queries_.size(); ++q) scores_.row(q)[70] = 20;
  RestAttention rest(&source_, &request_, queries_);
  rest.AddBlock(source_.Block(0)->block, {});
  rest.AddScores(0, Seen(0), 20);
  rest.AddScores(1, Seen(1), 1);
  rest.SetTolerances();

  std::vector<uint32_t> heavy;
  rest.ListHeavy(0, heavy);
  EXPECT_EQ(heavy, std::vector<uint32_t>{70});
  rest.ListHeavy(2, heavy);
  EXPECT_EQ(heavy.size(), 1U);
}

TEST_F(RestAttentionTest, NothingIsHeavyWithoutAnEstimate) {
  request_.estimate_rest = false;
  for (size_t q = 0; q < queries_.size(); ++q) scores_.row(q)[70] = 20;
  RestAttention rest = Scanned();

  std::vector<uint32_t> heavy;
  rest.ListHeavy(0, heavy);

  EXPECT_TRUE(heavy.empty());
  EXPECT_NEAR(rest.log_sum_exp(1), std::log(95 * std::exp(0.5)), 4e-3);
}

}  // namespace
}  // namespace alaya
