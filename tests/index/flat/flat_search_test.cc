// The estimate of the rest, as a search returns it: returned tokens and rest together
// are attention to everything, within the error that was asked for.

#include "index/flat/flat_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "index/exact_index.h"
#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "tests/index/array_kv_reader.h"
#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 64;
constexpr size_t kQueryCount = 3;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Attention {
  std::vector<double> weighted = std::vector<double>(kHeadDim);  // sum of weight * value
  double weight = 0;

  void Add(double weight_of_token, const float* value) {
    for (size_t e = 0; e < kHeadDim; ++e) weighted[e] += weight_of_token * double{value[e]};
    weight += weight_of_token;
  }
};

class FlatRestTest : public testing::Test {
 protected:
  static constexpr size_t kTokenCount = 12000;

  // A diffuse, a typical and a peaked query.
  FlatRestTest() : FlatRestTest(kTokenCount, {1.2F, 2.5F, 4.5F}) {}
  FlatRestTest(size_t token_count, const std::vector<float>& deviations)
      : FlatRestTest(RandomFloats(token_count * kHeadDim, 1.0F, 1), deviations) {}
  // `last`: queries keep to their first elements, the more the less it is, and codes are made for
  // such ones; 1: all elements are alike.
  FlatRestTest(const std::vector<float>& keys, const std::vector<float>& deviations,
               double last = 1)
      : reader_(keys, Values(keys.size() / kHeadDim), kHeadDim, DType::kBF16, 512),
        visible_(kQueryCount, TokenRange{0, keys.size() / kHeadDim}) {
    for (const float deviation : deviations) {
      for (const float element : FallingRows(1, kHeadDim, last, 9)) {
        queries_.push_back(deviation * element);
      }
    }
    const std::vector<float> sample = FallingRows(1000, kHeadDim, last, 10);
    const MatrixView<const float> sampled(sample.data(), last < 1 ? 1000 : 0, kHeadDim);
    EXPECT_TRUE(BuildFlatIndex(reader_, sampled, blocks_.Sink()).ok());
    index_ = *FlatIndex::Open(&blocks_, &reader_);
  }

  static std::vector<float> Values(size_t token_count) {
    std::vector<float> values = RandomFloats(token_count * kHeadDim, 1.0F, 2);
    for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(i % kHeadDim % 3);
    return values;
  }

  SearchRequest Request(bool sound) const {
    SearchRequest request;
    request.queries = {queries_.data(), kQueryCount, kHeadDim};
    request.visible = visible_;
    request.target = DiprTarget{};
    request.scale = kScale;
    request.sound = sound;
    request.estimate_rest = true;
    request.want_mass = true;
    return request;
  }

  double Weight(size_t query, size_t token) const {
    double score = 0;
    for (size_t e = 0; e < kHeadDim; ++e) {
      score += double{queries_[query * kHeadDim + e]} * double{reader_.key(token)[e]};
    }
    return std::exp(double{kScale} * score);
  }

  // Relative error of returned tokens and rest against everything visible.
  double OutputError(const SearchResult& found, size_t query) const {
    Attention exact;
    for (uint64_t t = visible_[query].begin; t < visible_[query].end; ++t) {
      exact.Add(Weight(query, t), reader_.value(t));
    }
    Attention estimated;
    for (const ScoredToken& token : found.queries[query].tokens) {
      estimated.Add(Weight(query, token.token), reader_.value(token.token));
    }
    estimated.Add(std::exp(double{found.rest_log_sum_exp[query]}),
                  &found.rest_output[query * kHeadDim]);
    EXPECT_NEAR(std::log(estimated.weight), std::log(exact.weight), weight_tolerance_);
    EXPECT_NEAR(found.queries[query].log_sum_exp, std::log(exact.weight), weight_tolerance_);
    double difference = 0;
    double norm = 0;
    for (size_t e = 0; e < kHeadDim; ++e) {
      const double output = exact.weighted[e] / exact.weight;
      difference += std::pow(estimated.weighted[e] / estimated.weight - output, 2);
      norm += output * output;
    }
    return std::sqrt(difference / norm);
  }

  static constexpr float kScale = 0.125F;

  ArrayKvReader reader_;
  DamageableIndexBlocks blocks_;
  std::unique_ptr<FlatIndex> index_;
  std::vector<float> queries_;
  std::vector<TokenRange> visible_;
  double weight_tolerance_ = 0.02;  // of the sum of all weights, relative
};

TEST_F(FlatRestTest, TokensAndRestAreAttentionToEverything) {
  for (const bool sound : {true, false}) {
    for (const TokenRange range : {TokenRange{0, kTokenCount}, TokenRange{100, 11000},
                                   TokenRange{63, 5000}, TokenRange{64, 8192}}) {
      visible_.assign(kQueryCount, range);
      const auto found = index_->Search(Request(sound));
      ASSERT_TRUE(found.ok());
      ASSERT_TRUE(found->has_rest());
      for (size_t q = 0; q < kQueryCount; ++q) EXPECT_LT(OutputError(*found, q), 0.02) << q;
    }
  }
}

TEST_F(FlatRestTest, TheTargetsTokensAreAmongThoseReturned) {
  SearchRequest request = Request(/*sound=*/true);
  const auto found = index_->Search(request);
  request.estimate_rest = false;
  const auto exact = ExactIndex(&reader_).Search(request);
  ASSERT_TRUE(found.ok() && exact.ok());
  for (size_t q = 0; q < kQueryCount; ++q) {
    const auto& all = found->queries[q].tokens;
    EXPECT_TRUE(std::ranges::is_sorted(all, {}, &ScoredToken::token));
    for (const ScoredToken& token : exact->queries[q].tokens) {
      EXPECT_NE(std::ranges::find(all, token), all.end()) << "query " << q;
    }
  }
}

TEST_F(FlatRestTest, EachQueryHasARestOfItsOwnRange) {
  visible_ = {{0, 500}, {7, 7}, {11900, kTokenCount}};

  const auto found = index_->Search(Request(/*sound=*/true));

  ASSERT_TRUE(found.ok());
  EXPECT_LT(OutputError(*found, 0), 0.02);
  EXPECT_LT(OutputError(*found, 2), 0.02);
  EXPECT_TRUE(found->queries[1].tokens.empty());
  EXPECT_EQ(double{found->rest_log_sum_exp[1]}, -kInfinity);
  for (size_t e = 0; e < kHeadDim; ++e) EXPECT_EQ(found->rest_output[kHeadDim + e], 0.0F);
}

TEST_F(FlatRestTest, TokensBehindTheIndexAreReturned) {
  const ArrayKvReader first(RandomFloats(4000 * kHeadDim, 1.0F, 1),
                            {reader_.value(0), reader_.value(0) + 4000 * kHeadDim}, kHeadDim,
                            DType::kBF16, 512);
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(BuildFlatIndex(first, {}, blocks.Sink()).ok());
  const auto index = FlatIndex::Open(&blocks, &reader_);
  ASSERT_TRUE(index.ok());
  visible_.assign(kQueryCount, {0, 4300});

  const auto found = (*index)->Search(Request(/*sound=*/true));

  ASSERT_TRUE(found.ok());
  for (size_t q = 0; q < kQueryCount; ++q) {
    EXPECT_LT(OutputError(*found, q), 0.02);
    EXPECT_EQ(std::ranges::count_if(found->queries[q].tokens,
                                    [](const ScoredToken& token) { return token.token >= 4000; }),
              300);
  }
}

TEST_F(FlatRestTest, WhatIsAttendedAlreadySparesTokens) {
  SearchRequest request = Request(/*sound=*/true);
  const auto alone = index_->Search(request);
  std::vector<float> output(kQueryCount * kHeadDim, 1.0F);
  std::vector<float> log_sum_exp;
  for (const QueryCandidates& query : alone->queries) {
    log_sum_exp.push_back(static_cast<float>(query.log_sum_exp) + 5);
  }
  request.attended = {{output.data(), kQueryCount, kHeadDim}, log_sum_exp};

  const auto found = index_->Search(request);

  ASSERT_TRUE(alone.ok() && found.ok());
  // The diffuse query leaves all but the target to the estimate.
  EXPECT_LE(found->queries[0].tokens.size(), alone->queries[0].tokens.size());
  EXPECT_LT(found->queries[1].tokens.size() + found->queries[2].tokens.size(),
            alone->queries[1].tokens.size() + alone->queries[2].tokens.size() + 1);
}

// So many tokens that statistical searches scan coarsely first.
class LongRestTest : public FlatRestTest {
 protected:
  static constexpr size_t kLongCount = 40000;

  explicit LongRestTest(const std::vector<float>& deviations = {3.3F, 4.0F, 4.5F}, double last = 1)
      : FlatRestTest(RandomFloats(kLongCount * kHeadDim, 1.0F, 1), deviations, last) {}

  // Whether an index block is read again for some of its groups.
  bool OpensGroups(const SearchRequest& request) {
    const size_t before = blocks_.read_count();
    EXPECT_TRUE(index_->Search(request).ok());
    const size_t once = blocks_.read_count() - before;
    SearchRequest sound = request;
    sound.sound = true;
    EXPECT_TRUE(index_->Search(sound).ok());
    return once > blocks_.read_count() - before - once;
  }
};

TEST_F(LongRestTest, TokensAndRestAreAttentionToEverything) {
  EXPECT_TRUE(OpensGroups(Request(/*sound=*/false)));
  for (const TokenRange range : {TokenRange{0, kLongCount}, TokenRange{100, 39000},
                                 TokenRange{63, 35001}, TokenRange{64, 33024}}) {
    visible_.assign(kQueryCount, range);
    const auto found = index_->Search(Request(/*sound=*/false));
    ASSERT_TRUE(found.ok());
    for (size_t q = 0; q < kQueryCount; ++q) EXPECT_LT(OutputError(*found, q), 0.025) << q;
  }
}

TEST_F(LongRestTest, EachQueryHasARestOfItsOwnRange) {
  for (const std::vector<TokenRange>& ranges : {std::vector<TokenRange>{{0, 40000}, {7, 7}, {7, 8}},
                                                {{0, 70}, {3000, 39999}, {39990, 40000}},
                                                {{20000, 20000}, {100, 33000}, {33000, 33001}}}) {
    visible_ = ranges;
    const auto found = index_->Search(Request(/*sound=*/false));
    ASSERT_TRUE(found.ok());
    for (size_t q = 0; q < kQueryCount; ++q) {
      if (visible_[q].empty()) {
        EXPECT_TRUE(found->queries[q].tokens.empty());
        EXPECT_EQ(double{found->rest_log_sum_exp[q]}, -kInfinity);
        continue;
      }
      EXPECT_LT(OutputError(*found, q), 0.025) << q << " from " << visible_[q].begin;
    }
  }
}

TEST_F(LongRestTest, TheTargetsTokensAreAmongThoseReturned) {
  SearchRequest request = Request(/*sound=*/false);
  const auto found = index_->Search(request);
  request.estimate_rest = false;
  const auto exact = ExactIndex(&reader_).Search(request);
  ASSERT_TRUE(found.ok() && exact.ok());
  size_t wanted = 0;
  size_t missed = 0;
  for (size_t q = 0; q < kQueryCount; ++q) {
    const auto& all = found->queries[q].tokens;
    EXPECT_TRUE(std::ranges::is_sorted(all, {}, &ScoredToken::token));
    for (const ScoredToken& token : exact->queries[q].tokens) {
      ++wanted;
      if (std::ranges::find(all, token) == all.end()) ++missed;
    }
  }
  EXPECT_GT(wanted, 3U);
  EXPECT_EQ(missed, 0U) << "of " << wanted;
}

// Far heavier than all else: nothing but what the target wants needs a closer look.
TEST_F(LongRestTest, WhatIsAttendedAlreadySparesGroups) {
  SearchRequest request = Request(/*sound=*/false);
  const auto alone = index_->Search(request);
  ASSERT_TRUE(alone.ok());
  std::vector<float> output(kQueryCount * kHeadDim, 1.0F);
  std::vector<float> log_sum_exp;
  for (const QueryCandidates& query : alone->queries) {
    log_sum_exp.push_back(static_cast<float>(query.log_sum_exp) + 8);
  }
  request.attended = {{output.data(), kQueryCount, kHeadDim}, log_sum_exp};
  const std::vector<float> bests(kQueryCount, 1e6F);
  request.best_scores = bests;

  const auto found = index_->Search(request);

  ASSERT_TRUE(found.ok());
  for (size_t q = 0; q < kQueryCount; ++q) {
    EXPECT_TRUE(found->queries[q].tokens.empty());
    // The whole is still known, though from coarse scores alone: far below where it matters.
    EXPECT_LT(double{found->rest_log_sum_exp[q]}, double{log_sum_exp[q]});
  }
}

// The same with codes that are made for such queries; coarse ones of half of the elements.
class MappedLongRestTest : public LongRestTest {
 protected:
  MappedLongRestTest() : LongRestTest({3.3F, 4.0F, 4.5F}, 0.01) {
    // Errors of half of the elements are not as normal as those of codes.
    weight_tolerance_ = 0.03;
    EXPECT_LT(DecodeFlatHeader(blocks_.ReadBlock(0)->bytes)->query_map->coarse.count, kHeadDim);
  }
};

TEST_F(MappedLongRestTest, TokensAndRestAreAttentionToEverything) {
  EXPECT_TRUE(OpensGroups(Request(/*sound=*/false)));
  for (const bool sound : {true, false}) {
    for (const TokenRange range : {TokenRange{0, kLongCount}, TokenRange{63, 35001}}) {
      visible_.assign(kQueryCount, range);
      const auto found = index_->Search(Request(sound));
      ASSERT_TRUE(found.ok());
      for (size_t q = 0; q < kQueryCount; ++q) EXPECT_LT(OutputError(*found, q), 0.025) << q;
    }
  }
}

// Attention to much of the text: most groups would be opened.
class DiffuseRestTest : public LongRestTest {
 protected:
  DiffuseRestTest() : LongRestTest({0.8F, 1.0F, 1.2F}) {}
};

TEST_F(DiffuseRestTest, TokensAndRestAreAttentionToEverything) {
  const auto found = index_->Search(Request(/*sound=*/false));
  ASSERT_TRUE(found.ok());
  for (size_t q = 0; q < kQueryCount; ++q) EXPECT_LT(OutputError(*found, q), 0.02) << q;
}

// Keys that no model has. Each changes one of them, by its token.
struct OddKeys {
  const char* name;
  void (*change)(size_t token, std::span<float> key);
};

class OddKeysRestTest : public FlatRestTest, public testing::WithParamInterface<OddKeys> {
 protected:
  static constexpr size_t kLongCount = 36000;

  OddKeysRestTest() : FlatRestTest(Keys(), {2.0F, 3.0F, 4.0F}) {}
  static std::vector<float> Keys() {
    std::vector<float> keys = RandomFloats(kLongCount * kHeadDim, 1.0F, 1);
    for (size_t token = 0; token < kLongCount; ++token) {
      GetParam().change(token, std::span(keys).subspan(token * kHeadDim, kHeadDim));
    }
    return keys;
  }
};

TEST_P(OddKeysRestTest, TokensAndRestAreAttentionToEverything) {
  const auto found = index_->Search(Request(/*sound=*/false));
  ASSERT_TRUE(found.ok());
  for (size_t q = 0; q < kQueryCount; ++q) EXPECT_LT(OutputError(*found, q), 0.03) << q;
}

INSTANTIATE_TEST_SUITE_P(
    Keys, OddKeysRestTest,
    testing::Values(OddKeys{"Zeros",
                            [](size_t, std::span<float> key) { std::ranges::fill(key, 0.0F); }},
                    OddKeys{"Equal",
                            [](size_t, std::span<float> key) {
                              for (size_t e = 0; e < key.size(); ++e)
                                key[e] = static_cast<float>(e % 5) - 2;
                            }},
                    OddKeys{"SomeTenTimesAsLong",
                            [](size_t token, std::span<float> key) {
                              if (token % 5000 > 1) return;
                              for (float& x : key) x *= 10;
                            }},
                    OddKeys{"OneOutlierChannel",
                            [](size_t, std::span<float> key) { key[3] = 30 + 0.1F * key[3]; }},
                    OddKeys{"HalfOfThemTiny",
                            [](size_t token, std::span<float> key) {
                              if (token % 2 == 0) return;
                              for (float& x : key) x *= 1e-20F;
                            }}),
    [](const auto& keys) { return std::string(keys.param.name); });

}  // namespace
}  // namespace alaya
