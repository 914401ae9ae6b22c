// Against ExactIndex: what a sound search returns must be the same, token by token and
// bit by bit.

#include "index/flat/flat_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "index/exact_index.h"
#include "index/flat/flat_builder.h"
#include "tests/index/array_kv_reader.h"
#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shape {
  size_t token_count = 3000;
  size_t head_dim = 128;
  DType dtype = DType::kBF16;
  size_t group_size = 4;
  size_t block_tokens = 256;
};

// Keys with outlier channels and a mean, and a flat index over them.
class Fixture {
 public:
  explicit Fixture(const Shape& shape, uint32_t seed = 1)
      : Fixture(shape, KeysLikeAModels(shape, seed), seed) {}
  Fixture(const Shape& shape, const std::vector<float>& keys, uint32_t seed = 1)
      : shape_(shape),
        reader_(keys, RandomFloats(keys.size(), 1.0F, seed + 1), shape.head_dim, shape.dtype,
                shape.block_tokens),
        queries_(RandomFloats(shape.group_size * shape.head_dim, 3.0F, seed + 2)),
        visible_(shape.group_size, TokenRange{0, keys.size() / shape.head_dim}),
        best_scores_(shape.group_size, -kInfinity) {
    EXPECT_TRUE(BuildFlatIndex(reader_, {}, blocks_.Sink()).ok());
    auto index = FlatIndex::Open(&blocks_, &reader_);
    EXPECT_TRUE(index.ok()) << index.status();
    index_ = *std::move(index);
  }

  static std::vector<float> KeysLikeAModels(const Shape& shape, uint32_t seed) {
    std::vector<float> keys = RandomFloats(shape.token_count * shape.head_dim, 1.0F, seed);
    const std::vector<float> mean = RandomFloats(shape.head_dim, 2.0F, seed + 7);
    for (size_t i = 0; i < keys.size(); ++i) {
      const size_t e = i % shape.head_dim;
      keys[i] += e % 37 == 5 ? 10 * mean[e] : mean[e];
    }
    return keys;
  }

  SearchRequest Request(const Target& target, bool sound = true) const {
    SearchRequest request;
    request.queries = {queries_.data(), shape_.group_size, shape_.head_dim};
    request.visible = visible_;
    request.target = target;
    request.scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
    request.best_scores = best_scores_;
    request.sound = sound;
    return request;
  }

  const Shape shape_;
  ArrayKvReader reader_;
  DamageableIndexBlocks blocks_;
  std::unique_ptr<FlatIndex> index_;
  std::vector<float> queries_;
  std::vector<TokenRange> visible_;
  std::vector<float> best_scores_;
};

void ExpectSameTokens(const StatusOr<SearchResult>& found, const StatusOr<SearchResult>& exact) {
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_TRUE(exact.ok()) << exact.status();
  ASSERT_EQ(found->queries.size(), exact->queries.size());
  for (size_t q = 0; q < exact->queries.size(); ++q) {
    EXPECT_EQ(found->queries[q].tokens, exact->queries[q].tokens) << "query " << q;
    EXPECT_EQ(found->queries[q].best_score, exact->queries[q].best_score) << "query " << q;
  }
}

// How much of exact sets was found.
struct Recall {
  size_t found_count = 0;
  size_t exact_count = 0;

  // Whatever was found must belong to the set.
  void Add(const SearchResult& found, const SearchResult& exact) {
    for (size_t q = 0; q < exact.queries.size(); ++q) {
      const std::vector<ScoredToken>& all = exact.queries[q].tokens;
      for (const ScoredToken& token : found.queries[q].tokens) {
        EXPECT_NE(std::ranges::find(all, token), all.end()) << "not in the set: " << token.token;
      }
      found_count += found.queries[q].tokens.size();
      exact_count += all.size();
    }
  }
  void ExpectNearlyAll() const {
    EXPECT_GT(exact_count, 1000U);
    EXPECT_GE(static_cast<double>(found_count), 0.999 * static_cast<double>(exact_count));
  }
};

void ExpectSound(const Fixture& fixture, const Target& target) {
  const SearchRequest request = fixture.Request(target);
  ExpectSameTokens(fixture.index_->Search(request), ExactIndex(&fixture.reader_).Search(request));
}

TEST(FlatIndexTest, SoundDiprIsTheExactSetAtEveryShape) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const size_t head_dim : std::vector<size_t>{8, 64, 72, 96, 128, 256}) {
      for (const size_t group_size : std::vector<size_t>{1, 3, 4, 8}) {
        SCOPED_TRACE(testing::Message()
                     << Name(dtype) << ", head_dim " << head_dim << ", group " << group_size);
        const Fixture fixture({2000, head_dim, dtype, group_size, 256});
        ExpectSound(fixture, DiprTarget{});
      }
    }
  }
}

TEST(FlatIndexTest, SoundDiprIsTheExactSetAtEveryLength) {
  for (const size_t token_count :
       std::vector<size_t>{1, 2, 63, 64, 65, 127, 128, 255, 831, 832, 833, 1700}) {
    SCOPED_TRACE(token_count);
    ExpectSound(Fixture({token_count}), DiprTarget{});
    ExpectSound(Fixture({.token_count = token_count, .block_tokens = 24}), DiprTarget{0.3});
  }
}

TEST(FlatIndexTest, SoundDiprIsTheExactSetAtEveryWidth) {
  const Fixture fixture({});
  for (const double alpha : {1.0, 0.5, 0.012, 1e-4, 1e-12, 1e-300}) {
    SCOPED_TRACE(alpha);
    ExpectSound(fixture, DiprTarget{alpha});
  }
}

TEST(FlatIndexTest, TopKIsTheExactSet) {
  const Fixture fixture({9000});
  for (const size_t k : std::vector<size_t>{1, 2, 10, 100, 3000, 9000, 20000}) {
    SCOPED_TRACE(k);
    ExpectSound(fixture, TopKTarget{k});
  }
}

TEST(FlatIndexTest, TopKKeepsTheEarlierOfEqualScores) {
  const Shape shape{.token_count = 500, .head_dim = 16};
  std::vector<float> keys = RandomFloats(shape.head_dim, 1.0F, 3);
  for (size_t i = shape.head_dim; i < shape.token_count * shape.head_dim; ++i) {
    keys.push_back(keys[i - shape.head_dim]);
  }
  ExpectSound(Fixture(shape, keys), TopKTarget{7});
}

TEST(FlatIndexTest, NearlyAllMassIsTheExactSet) { ExpectSound(Fixture({1000}), MassTarget{0.999}); }

TEST(FlatIndexTest, SeesOnlyTheVisibleRangeOfEachQuery) {
  Fixture fixture({});
  for (const TokenRange range : {TokenRange{0, 1}, TokenRange{5, 5}, TokenRange{100, 101},
                                 TokenRange{63, 65}, TokenRange{700, 2999}}) {
    fixture.visible_ = {range, {range.begin, 3000}, {0, range.end}, {10, 20}};
    ExpectSound(fixture, DiprTarget{});
    ExpectSound(fixture, TopKTarget{50});
  }
}

// Much of a block is wanted, so all of it is scored, also what a query does not see.
TEST(FlatIndexTest, TopKIsNotMisledByHigherScoresBeyondTheVisibleRange) {
  for (const size_t visible_count : std::vector<size_t>{41, 60, 100, 200}) {
    SCOPED_TRACE(visible_count);
    Fixture fixture({.token_count = 520, .block_tokens = 64});
    const TokenRange visible{0, visible_count};
    fixture.visible_.assign(fixture.visible_.size(), visible);
    for (const size_t k : std::vector<size_t>{17, 30, 40}) ExpectSound(fixture, TopKTarget{k});
  }
}

TEST(FlatIndexTest, ABestScoreFromElsewhereRaisesTheBar) {
  Fixture fixture({});
  const auto alone = fixture.index_->Search(fixture.Request(DiprTarget{}));
  ASSERT_TRUE(alone.ok());
  const float best = alone->queries[0].best_score;
  fixture.best_scores_[0] = best + 10;

  const SearchRequest request = fixture.Request(DiprTarget{});
  const auto found = fixture.index_->Search(request);
  const auto exact = ExactIndex(&fixture.reader_).Search(request);

  ASSERT_TRUE(found.ok() && exact.ok());
  EXPECT_EQ(found->queries[0].tokens, exact->queries[0].tokens);
  EXPECT_LT(found->queries[0].tokens.size(), alone->queries[0].tokens.size());
}

TEST(FlatIndexTest, TokensBehindTheIndexAreFoundToo) {
  const Fixture fixture({2500});
  for (const size_t covered : std::vector<size_t>{1, 64, 1000, 2499}) {
    DamageableIndexBlocks blocks;
    const ArrayKvReader first({fixture.reader_.key(0), fixture.reader_.key(0) + covered * 128},
                              {fixture.reader_.value(0), fixture.reader_.value(0) + covered * 128},
                              128, DType::kBF16, 256);
    ASSERT_TRUE(BuildFlatIndex(first, {}, blocks.Sink()).ok());
    const auto index = FlatIndex::Open(&blocks, &fixture.reader_);
    ASSERT_TRUE(index.ok());
    for (const Target& target : {Target(DiprTarget{}), Target(TopKTarget{30})}) {
      const SearchRequest request = fixture.Request(target);
      ExpectSameTokens((*index)->Search(request), ExactIndex(&fixture.reader_).Search(request));
    }
  }
}

// Keys that try to break the bound.
struct Adversary {
  const char* name;
  DType dtype;
  void (*make)(size_t head_dim, std::vector<float>& keys);
};

class FlatAdversaryTest : public testing::TestWithParam<Adversary> {};

TEST_P(FlatAdversaryTest, SoundSearchesMissNothing) {
  for (const size_t head_dim : std::vector<size_t>{64, 96, 128}) {
    const Shape shape{.token_count = 1500, .head_dim = head_dim, .dtype = GetParam().dtype};
    std::vector<float> keys = RandomFloats(shape.token_count * head_dim, 1.0F, 17);
    GetParam().make(head_dim, keys);
    Fixture fixture(shape, keys);
    // One query as a key, one of a single channel, one of zeros, one tiny.
    std::copy_n(fixture.reader_.key(700), head_dim, fixture.queries_.data());
    std::fill_n(&fixture.queries_[head_dim], 2 * head_dim, 0.0F);
    fixture.queries_[head_dim + 3] = 5;
    for (size_t e = 0; e < head_dim; ++e) fixture.queries_[3 * head_dim + e] *= 1e-30F;
    for (const Target& target :
         {Target(DiprTarget{}), Target(DiprTarget{1.0}), Target(TopKTarget{20})}) {
      ExpectSound(fixture, target);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Keys, FlatAdversaryTest,
    testing::Values(
        Adversary{"HugeNorms", DType::kBF16,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = 0; i < keys.size(); ++i) {
                      keys[i] *= std::pow(10.0F, static_cast<float>(i / d % 34));
                    }
                  }},
        Adversary{"AllNearTheLargestFloat", DType::kF32,
                  [](size_t, std::vector<float>& keys) {
                    for (float& key : keys) key = std::copysign(3.3e38F, key);
                  }},
        Adversary{"AllNearTheLargestHalf", DType::kF16,
                  [](size_t, std::vector<float>& keys) {
                    for (float& key : keys) key = std::clamp(key * 30000, -65504.0F, 65504.0F);
                  }},
        Adversary{"OutlierChannels", DType::kBF16,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = 0; i < keys.size(); ++i) {
                      if (i % d == 3 || i % d == 40) keys[i] *= 1000;
                    }
                  }},
        Adversary{"OneOutlierPerToken", DType::kBF16,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = 0; i < keys.size(); ++i) {
                      if (i % d == i / d % d) keys[i] *= 500;
                    }
                  }},
        Adversary{"Duplicates", DType::kBF16,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = 3 * d; i < keys.size(); ++i) keys[i] = keys[i - 3 * d];
                  }},
        Adversary{"NearDuplicates", DType::kF32,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = d; i < keys.size(); ++i)
                      keys[i] = keys[i % d] + keys[i] * 1e-5F;
                  }},
        Adversary{"Constant", DType::kBF16,
                  [](size_t, std::vector<float>& keys) { std::ranges::fill(keys, 3.0F); }},
        Adversary{"Zeros", DType::kF16,
                  [](size_t, std::vector<float>& keys) { std::ranges::fill(keys, 0.0F); }},
        Adversary{"Denormals", DType::kF32,
                  [](size_t, std::vector<float>& keys) {
                    for (float& key : keys) key *= 1e-40F;
                  }},
        Adversary{"TinyAndHuge", DType::kF32,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = 0; i < keys.size(); ++i) {
                      keys[i] *= std::pow(10.0F, static_cast<float>(i / d % 60) - 40);
                    }
                  }},
        Adversary{"RowsOfHadamard", DType::kBF16,
                  [](size_t d, std::vector<float>& keys) {
                    for (size_t i = 0; i < keys.size(); ++i) {
                      keys[i] = std::popcount(i % d & i / d) % 2 == 0 ? 1.0F : -1.0F;
                    }
                  }}),
    [](const auto& adversary) { return adversary.param.name; });

TEST(FlatIndexTest, HugeQueriesAreSearchedToo) {
  Fixture fixture({1000, 64, DType::kF32});
  for (const float size : {1e10F, 1e17F, 1e25F, 1e38F}) {
    for (float& element : fixture.queries_) element = std::copysign(size, element);
    ExpectSound(fixture, DiprTarget{});
  }
}

TEST(FlatIndexTest, StatisticalDiprMissesNextToNothing) {
  Recall recall;
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    const Fixture fixture({20000}, 100 * seed);
    const SearchRequest request = fixture.Request(DiprTarget{}, /*sound=*/false);
    const auto found = fixture.index_->Search(request);
    const auto exact = ExactIndex(&fixture.reader_).Search(request);
    ASSERT_TRUE(found.ok() && exact.ok());
    recall.Add(*found, *exact);
  }
  recall.ExpectNearlyAll();
}

TEST(FlatIndexTest, ScoresFewTokensExactly) {
  const Fixture fixture({20000});
  const Target target = DiprTarget{0.5};
  const auto sound = fixture.index_->Search(fixture.Request(target));
  const auto statistical = fixture.index_->Search(fixture.Request(target, /*sound=*/false));
  ASSERT_TRUE(sound.ok() && statistical.ok());
  EXPECT_LT(sound->tokens_scored, 4 * 20000U / 10);
  EXPECT_LT(statistical->tokens_scored, 4 * 20000U / 10);
}

TEST(FlatIndexTest, FewerKeysAreReadWhileTheyAreNotInMemory) {
  Fixture fixture({20000});
  const SearchRequest request = fixture.Request(DiprTarget{0.5}, /*sound=*/false);
  const auto in_memory = fixture.index_->Search(request);
  fixture.reader_.set_in_memory(false);

  const auto on_disk = fixture.index_->Search(request);

  ASSERT_TRUE(in_memory.ok() && on_disk.ok());
  EXPECT_LT(on_disk->tokens_scored, in_memory->tokens_scored);
  ExpectSameTokens(on_disk, ExactIndex(&fixture.reader_).Search(request));
}

TEST(FlatIndexTest, TheMassIsEstimatedWithinTwoPercent) {
  for (const float size : {0.5F, 1.5F, 3.0F}) {
    Fixture fixture({20000});
    for (float& element : fixture.queries_) element *= size / 3;
    SearchRequest request = fixture.Request(DiprTarget{});
    request.want_mass = true;
    const auto found = fixture.index_->Search(request);
    const auto exact = ExactIndex(&fixture.reader_).Search(request);
    ASSERT_TRUE(found.ok() && exact.ok());
    for (size_t q = 0; q < exact->queries.size(); ++q) {
      EXPECT_NEAR(found->queries[q].log_sum_exp, exact->queries[q].log_sum_exp, 0.02);
    }
  }
}

// The fewest of `tokens` with this share of e^log_sum_exp.
std::vector<ScoredToken> FewestWith(double fraction, std::vector<ScoredToken> tokens, double scale,
                                    double log_sum_exp) {
  std::ranges::sort(tokens, std::greater(), &ScoredToken::score);
  double mass = 0;
  size_t count = 0;
  while (count < tokens.size() && mass < fraction) {
    mass += std::exp(scale * double{tokens[count++].score} - log_sum_exp);
  }
  EXPECT_GE(mass, fraction) << "of " << tokens.size() << " tokens";
  tokens.resize(count);
  return tokens;
}

TEST(FlatIndexTest, FewTokensWithTheMassAreAmongThoseReturned) {
  for (const float size : {0.5F, 1.5F, 3.0F}) {
    Fixture fixture({9000});
    for (float& element : fixture.queries_) element *= size / 3;
    for (const TokenRange range : {TokenRange{0, 9000}, TokenRange{70, 8000}, TokenRange{9, 10}}) {
      fixture.visible_.assign(4, range);
      for (const double fraction : {0.05, 0.5, 0.9, 0.99}) {
        SCOPED_TRACE(testing::Message() << size << ", " << range.size() << ", " << fraction);
        SearchRequest request = fixture.Request(MassTarget{fraction});
        request.want_mass = true;
        const auto found = fixture.index_->Search(request);
        const auto exact = ExactIndex(&fixture.reader_).Search(request);
        ASSERT_TRUE(found.ok() && exact.ok());
        if (size > 2 && fraction < 0.8 && range.size() > 1000) {
          EXPECT_LT(2 * found->tokens_scored, exact->tokens_scored);
        }
        for (size_t q = 0; q < exact->queries.size(); ++q) {
          const QueryCandidates& all = exact->queries[q];
          const double scale = request.scale;
          // The smaller the fraction, the more of the mass is known from codes alone.
          EXPECT_NEAR(found->queries[q].log_sum_exp, all.log_sum_exp, 0.04);
          EXPECT_EQ(found->queries[q].best_score, all.best_score);
          const auto fewest = FewestWith(fraction, all.tokens, scale, all.log_sum_exp);
          const auto chosen =
              FewestWith(fraction, found->queries[q].tokens, scale, found->queries[q].log_sum_exp);
          EXPECT_LE(chosen.size(), fewest.size() + 1 + fewest.size() / 20);
          double mass = 0;
          for (const ScoredToken& token : chosen) {
            EXPECT_TRUE(
                std::ranges::binary_search(all.tokens, token.token, {}, &ScoredToken::token));
            mass += std::exp(scale * double{token.score} - all.log_sum_exp);
          }
          EXPECT_GE(mass, fraction - 0.02);
        }
      }
    }
  }
}

// As sinks have: a bad code of such a key could pass for most of the mass.
TEST(FlatIndexTest, TheMassIsRightBesideKeysFarLongerThanOthers) {
  const Shape shape{.token_count = 5000};
  std::vector<float> keys = Fixture::KeysLikeAModels(shape, 1);
  for (const size_t token : {0U, 1U, 700U, 4999U}) {
    for (size_t e = 0; e < shape.head_dim; ++e) keys[token * shape.head_dim + e] *= 25;
  }
  const Fixture fixture(shape, keys);
  for (const double fraction : {0.5, 0.9}) {
    SearchRequest request = fixture.Request(MassTarget{fraction});
    request.want_mass = true;
    request.scale /= 6;
    const auto found = fixture.index_->Search(request);
    const auto exact = ExactIndex(&fixture.reader_).Search(request);
    ASSERT_TRUE(found.ok() && exact.ok());
    for (size_t q = 0; q < exact->queries.size(); ++q) {
      EXPECT_NEAR(found->queries[q].log_sum_exp, exact->queries[q].log_sum_exp, 0.04);
      FewestWith(fraction, found->queries[q].tokens, request.scale, found->queries[q].log_sum_exp);
    }
  }
}

TEST(FlatIndexTest, ErrorsOfReadersPassThrough) {
  Fixture fixture({3000});
  fixture.blocks_.FailAt(2);
  EXPECT_EQ(fixture.index_->Search(fixture.Request(DiprTarget{})).status().code(),
            StatusCode::kDataLoss);
  fixture.visible_.assign(4, {0, 832});
  EXPECT_TRUE(fixture.index_->Search(fixture.Request(DiprTarget{})).ok());
  fixture.reader_.FailAt(KvKind::kKey, 0);
  fixture.visible_.assign(4, {0, 10});
  EXPECT_EQ(fixture.index_->Search(fixture.Request(DiprTarget{})).status().code(),
            StatusCode::kDataLoss);
}

TEST(FlatIndexTest, HoldsAtMostTwoPinsOfTheKeysAtATime) {
  const Fixture fixture({3000});
  ASSERT_TRUE(fixture.index_->Search(fixture.Request(DiprTarget{})).ok());
  EXPECT_EQ(fixture.reader_.pin_count(), 0);
  EXPECT_LE(fixture.reader_.pin_count_max(), 2);
}

TEST(FlatIndexTest, TakesLessThanAFifthOfKeysAndValues) {
  const Fixture fixture({20000});
  EXPECT_LT(fixture.blocks_.bytes(), 20000 * 512 / 5);
}

// An index whose codes were made for queries that keep to some elements.
class MappedFlatIndexTest : public testing::Test {
 protected:
  static constexpr size_t kHeadDim = 128;
  static constexpr size_t kTokenCount = 20000;
  static constexpr size_t kQueries = 4;

  MappedFlatIndexTest()
      : reader_(Fixture::KeysLikeAModels({.token_count = kTokenCount}, 3),
                RandomFloats(kTokenCount * kHeadDim, 1.0F, 4), kHeadDim, DType::kBF16, 256),
        sample_(FallingRows(2000, kHeadDim, 0.01, 5)) {
    EXPECT_TRUE(
        BuildFlatIndex(reader_, {sample_.data(), 2000, kHeadDim}, mapped_blocks_.Sink()).ok());
    EXPECT_TRUE(BuildFlatIndex(reader_, {}, blocks_.Sink()).ok());
    mapped_ = *FlatIndex::Open(&mapped_blocks_, &reader_);
    rotated_ = *FlatIndex::Open(&blocks_, &reader_);
  }

  // Logits deviate by 4 nats.
  static std::vector<float> LikeTheSample(uint32_t seed) {
    std::vector<float> queries = FallingRows(kQueries, kHeadDim, 0.01, seed);
    for (float& element : queries) element *= 4;
    return queries;
  }

  SearchRequest Request(const std::vector<float>& queries, const Target& target,
                        bool sound = true) const {
    SearchRequest request;
    request.queries = {queries.data(), kQueries, kHeadDim};
    request.visible = visible_;
    request.target = target;
    request.scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
    request.sound = sound;
    return request;
  }

  ArrayKvReader reader_;
  std::vector<float> sample_;
  DamageableIndexBlocks mapped_blocks_;
  DamageableIndexBlocks blocks_;
  std::unique_ptr<FlatIndex> mapped_;
  std::unique_ptr<FlatIndex> rotated_;
  std::vector<TokenRange> visible_{kQueries, TokenRange{3, kTokenCount - 5}};
};

TEST_F(MappedFlatIndexTest, SoundSetsAreExactForAnyQuery) {
  std::vector<std::vector<float>> all = {LikeTheSample(6), RandomFloats(kQueries * kHeadDim, 3, 7)};
  // Most in the elements that the sample uses least; and of one element each.
  all.push_back(LikeTheSample(8));
  std::ranges::reverse(all.back());
  all.emplace_back(kQueries * kHeadDim);
  for (size_t q = 0; q < kQueries; ++q) all.back()[q * kHeadDim + 40 * q] = 50;
  for (const float size : {1e-20F, 1e17F, 1e25F, 1e38F}) {
    all.push_back(RandomFloats(kQueries * kHeadDim, 1, 9));
    for (float& element : all.back()) element = std::copysign(size, element);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    for (const Target& target : {Target(DiprTarget{}), Target(TopKTarget{100})}) {
      SCOPED_TRACE(testing::Message() << "queries " << i);
      const SearchRequest request = Request(all[i], target);
      ExpectSameTokens(mapped_->Search(request), ExactIndex(&reader_).Search(request));
    }
  }
}

TEST_F(MappedFlatIndexTest, StatisticalDiprMissesNextToNothingForQueriesLikeTheSample) {
  Recall recall;
  size_t scored = 0;
  size_t scored_by_rotated = 0;
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    const std::vector<float> queries = LikeTheSample(100 * seed);
    const SearchRequest request = Request(queries, DiprTarget{}, /*sound=*/false);
    const auto found = mapped_->Search(request);
    const auto exact = ExactIndex(&reader_).Search(request);
    const SearchRequest sound = Request(queries, DiprTarget{});
    const auto by_map = mapped_->Search(sound);
    const auto by_rotation = rotated_->Search(sound);
    ASSERT_TRUE(found.ok() && exact.ok() && by_map.ok() && by_rotation.ok());
    scored += by_map->tokens_scored;
    scored_by_rotated += by_rotation->tokens_scored;
    recall.Add(*found, *exact);
  }
  recall.ExpectNearlyAll();
  EXPECT_LT(scored, scored_by_rotated * 9 / 10);
}

TEST_F(MappedFlatIndexTest, AMapThatCannotBeReadIsAnError) {
  const std::vector<float> queries = LikeTheSample(6);
  mapped_blocks_.FailAt(1);
  EXPECT_EQ(mapped_->Search(Request(queries, DiprTarget{})).status().code(), StatusCode::kDataLoss);
  mapped_blocks_.FailAt(SIZE_MAX);
  mapped_blocks_.Shorten(1, 1000);
  EXPECT_EQ(mapped_->Search(Request(queries, DiprTarget{})).status().code(), StatusCode::kDataLoss);
}

TEST(GrowingFlatIndexTest, FindsTheExactSetAtEveryStep) {
  const Shape shape{.token_count = 2200, .head_dim = 64};
  const std::vector<float> keys = Fixture::KeysLikeAModels(shape, 5);
  const std::vector<float> queries = RandomFloats(4 * 64, 3.0F, 6);
  // A reader that shows more and more of its tokens.
  class Growing : public ArrayKvReader {
   public:
    using ArrayKvReader::ArrayKvReader;
    size_t token_count() const override { return count; }
    StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
      ALAYA_ASSIGN_OR_RETURN(PinnedRows rows, ArrayKvReader::ReadBlock(kind, block_index));
      const size_t shown = count - block_index * block_tokens();
      rows.rows = rows.rows.rows_range(0, std::min(rows.rows.rows, shown));
      return rows;
    }
    size_t count = 0;
  } reader(keys, keys, 64, DType::kBF16, 256);
  GrowingFlatIndex index(&reader);
  for (const size_t count : std::vector<size_t>{1, 255, 256, 300, 319, 320, 1100, 900, 901, 2200}) {
    SCOPED_TRACE(count);
    if (count < reader.count) index.Truncate(count);
    reader.count = count;
    ASSERT_TRUE(index.Extend().ok());
    const std::vector<TokenRange> visible(4, TokenRange{0, count});
    SearchRequest request;
    request.queries = {queries.data(), 4, 64};
    request.visible = visible;
    request.target = DiprTarget{};
    request.scale = 0.125F;
    ExpectSameTokens(index.Search(request), ExactIndex(&reader).Search(request));
    EXPECT_EQ(index.token_count(), count < 256 ? 0 : count / 64 * 64);
  }
}

}  // namespace
}  // namespace alaya
