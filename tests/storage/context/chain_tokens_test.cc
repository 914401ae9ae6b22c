#include "storage/context/chain_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "made_segments.h"

namespace alaya {
namespace {

using Tokens = std::vector<TokenId>;

class ChainTokensTest : public testing::Test {
 protected:
  MadeSegments segments_;
  TokenSource source_ = segments_.Source();
  // 1 2 3 | 4 5 (6) | 7 8
  const std::vector<SegmentLink> chain_ = {
      segments_.Make(0, {1, 2, 3}), segments_.Make(3, {4, 5, 6}, 2), segments_.Make(5, {7, 8})};
};

TEST_F(ChainTokensTest, RangesAreReadAcrossLinks) {
  EXPECT_EQ(ReadChainTokens(chain_, {0, 7}, source_).value(), (Tokens{1, 2, 3, 4, 5, 7, 8}));
  EXPECT_EQ(ReadChainTokens(chain_, {2, 6}, source_).value(), (Tokens{3, 4, 5, 7}));
  EXPECT_EQ(ReadChainTokens(chain_, {4, 4}, source_).value(), Tokens());
  EXPECT_EQ(ReadChainToken(chain_, 0, source_).value(), 1U);
  EXPECT_EQ(ReadChainToken(chain_, 4, source_).value(), 5U);
  EXPECT_EQ(ReadChainToken(chain_, 5, source_).value(), 7U);
}

TEST_F(ChainTokensTest, AChainThatBeginsInTheMiddleIsReadByPosition) {
  const std::vector<SegmentLink> rest(chain_.begin() + 1, chain_.end());
  EXPECT_EQ(ReadChainTokens(rest, {3, 7}, source_).value(), (Tokens{4, 5, 7, 8}));
}

TEST_F(ChainTokensTest, EveryTokenIsCompared) {
  const Tokens all = {1, 2, 3, 4, 5, 7, 8};
  EXPECT_EQ(CountCommonTokens(chain_, all, source_).value(), 7U);
  for (size_t i = 0; i < all.size(); ++i) {
    Tokens other = all;
    other[i] += 100;
    EXPECT_EQ(CountCommonTokens(chain_, other, source_).value(), i);
    EXPECT_EQ(CountCommonTokens(chain_, std::span(all).first(i), source_).value(), i);
  }
  EXPECT_EQ(CountCommonTokens(chain_, Tokens{1, 2, 3, 4, 5, 6}, source_).value(), 5U)
      << "the link ends before the segment's last token";
  EXPECT_EQ(CountCommonTokens(chain_, Tokens{1, 2, 3, 4, 5, 7, 8, 9}, source_).value(), 7U);
  EXPECT_EQ(CountCommonTokens({}, all, source_).value(), 0U);
}

TEST_F(ChainTokensTest, SegmentsInCommonAreNotRead) {
  const std::vector<SegmentLink> longer = {
      chain_[0], {chain_[1].segment, 3}, segments_.Make(6, {9})};

  EXPECT_EQ(CountCommonTokens(chain_, chain_, 0, source_).value(), 7U);
  EXPECT_EQ(segments_.read_count(), 0U);
  EXPECT_EQ(CountCommonTokens(chain_, longer, 0, source_).value(), 5U) << "7 is not 6";
  EXPECT_EQ(segments_.read_count(), 2U) << "one of each";
}

TEST_F(ChainTokensTest, ChainsOfOtherSegmentsAreComparedByTokens) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    const auto make = [&](const Tokens& tokens) {
      std::vector<SegmentLink> chain;
      for (size_t begin = 0; begin < tokens.size();) {
        const size_t count = 1 + random() % (tokens.size() - begin);
        const auto first = tokens.begin() + static_cast<ptrdiff_t>(begin);
        chain.push_back(segments_.Make(begin, Tokens(first, tokens.end()), count));
        begin += count;
      }
      return chain;
    };
    Tokens a(1 + random() % 30);
    for (TokenId& token : a) token = static_cast<TokenId>(random() % 3);
    Tokens b = a;
    b.resize(1 + random() % 30, 1);
    b[random() % b.size()] = 2;
    const auto common = static_cast<uint64_t>(std::ranges::mismatch(a, b).in1 - a.begin());
    const TokenSource any = segments_.Source(&random);

    EXPECT_EQ(CountCommonTokens(make(a), make(b), 0, any).value(), common);
    EXPECT_EQ(CountCommonTokens(make(a), make(b), random() % (common + 1), any).value(), common);
    EXPECT_EQ(CountCommonTokens(make(a), b, any).value(), common);
    EXPECT_EQ(ReadChainTokens(make(a), {0, a.size()}, any).value(), a);
  }
}

TEST_F(ChainTokensTest, AnErrorOfTheSourceIsPassedOn) {
  segments_.set_failing(true);
  const std::vector<SegmentLink> other = {segments_.Make(0, {1, 2})};

  EXPECT_EQ(ReadChainToken(chain_, 0, source_).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(ReadChainTokens(chain_, {0, 2}, source_).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(CountCommonTokens(chain_, Tokens{1}, source_).status().code(),
            StatusCode::kUnavailable);
  EXPECT_EQ(CountCommonTokens(chain_, other, 0, source_).status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace alaya
