#include "tests/support/attention_workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/support/element_codec.h"
#include "tests/support/exact_attention.h"

namespace alaya {
namespace {

Model SmallModel(DType dtype) { return {"small", 3, 8, 2, 64, dtype}; }

AttentionWorkload SmallWorkload(DType dtype = DType::kBF16) {
  return AttentionWorkload({.model = SmallModel(dtype), .token_count = 4096, .seed = 3});
}

uint64_t Fingerprint(std::span<const float> values) {
  uint64_t hash = 0;
  for (const float value : values) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    hash = MixBits(hash ^ bits) + 1;
  }
  return hash;
}

TEST(AttentionWorkloadTest, IsTheSameOnEveryMachine) {
  const AttentionWorkload workload = SmallWorkload();

  // The same from g++ -O0 and clang++ -O2 -march=native. A change of the recipe changes
  // them; nothing else may.
  EXPECT_EQ(Fingerprint(workload.HeadKeys(2, 1, {0, 4096})), 14686502633640776321U);
  EXPECT_EQ(Fingerprint(workload.HeadValues(2, 1, {0, 4096})), 14283755651405587757U);
  EXPECT_EQ(Fingerprint(workload.Queries(2, 5000)), 10100140031587762246U);
}

TEST(AttentionWorkloadTest, APartEqualsThatPartOfTheWhole) {
  const AttentionWorkload workload = SmallWorkload();
  const std::vector<float> whole = workload.HeadKeys(1, 1, {0, 600});

  const std::vector<float> part = workload.HeadKeys(1, 1, {277, 555});

  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 277 * 64));
}

TEST(AttentionWorkloadTest, ALayerInterleavesItsHeadsInTheModelsType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const AttentionWorkload workload = SmallWorkload(dtype);
    const TokenRange range{100, 900};

    const LayerTokens layer = workload.Layer(2, range);

    const std::vector<float> keys = Decode(layer.keys, dtype);
    const std::vector<float> values = Decode(layer.values, dtype);
    for (uint32_t h = 0; h < 2; ++h) {
      std::vector<float> head_keys = workload.HeadKeys(2, h, range);
      std::vector<float> head_values = workload.HeadValues(2, h, range);
      RoundTo(dtype, head_keys);
      RoundTo(dtype, head_values);
      for (size_t t = 0; t < range.size(); ++t) {
        const size_t interleaved = (t * 2 + h) * 64;
        ASSERT_TRUE(std::equal(&keys[interleaved], &keys[interleaved] + 64, &head_keys[t * 64]));
        ASSERT_TRUE(
            std::equal(&values[interleaved], &values[interleaved] + 64, &head_values[t * 64]));
      }
    }
  }
}

TEST(AttentionWorkloadTest, SeedsLayersAndHeadsDiffer) {
  const AttentionWorkload workload = SmallWorkload();
  const AttentionWorkload other({.model = SmallModel(DType::kF32), .token_count = 4096, .seed = 4});
  const TokenRange range{10, 20};

  EXPECT_NE(workload.HeadKeys(0, 0, range), other.HeadKeys(0, 0, range));
  EXPECT_NE(workload.HeadKeys(0, 0, range), workload.HeadKeys(1, 0, range));
  EXPECT_NE(workload.HeadKeys(0, 0, range), workload.HeadKeys(0, 1, range));
  EXPECT_NE(workload.HeadKeys(0, 0, range), workload.HeadValues(0, 0, range));
  EXPECT_NE(workload.Tokens(range), other.Tokens(range));
}

TEST(AttentionWorkloadTest, EveryNumberIsFinite) {
  for (const uint32_t head_dim : {8U, 64U, 96U, 128U}) {
    const Model model{"m", 1, 4, 4, head_dim, DType::kF32};
    const AttentionWorkload workload({.model = model, .token_count = 64});
    const auto is_finite = [](float x) { return std::isfinite(x); };

    EXPECT_TRUE(std::ranges::all_of(workload.HeadKeys(0, 3, {0, 200}), is_finite));
    EXPECT_TRUE(std::ranges::all_of(workload.HeadValues(0, 3, {0, 200}), is_finite));
    EXPECT_TRUE(std::ranges::all_of(workload.Queries(0, 150), is_finite));
  }
}

// The logits of one query over the first `token_count` tokens.
std::vector<double> Logits(const AttentionWorkload& workload, uint32_t layer, uint32_t query_head,
                           uint64_t position) {
  const uint32_t d = workload.model().head_dim;
  const uint64_t n = workload.options().token_count;
  const std::vector<float> keys =
      workload.HeadKeys(layer, query_head / workload.model().group_size(), {0, n});
  const std::vector<float> queries = workload.Queries(layer, position);
  std::vector<double> logits =
      ExactScores(std::span(queries).subspan(query_head * d, d), {keys.data(), n, d});
  for (double& logit : logits) logit /= std::sqrt(static_cast<double>(d));
  return logits;
}

TEST(AttentionWorkloadTest, TheBulkHasTheDeviationThatWasAskedFor) {
  for (const double deviation : {1.5, 3.0, 5.0}) {
    const AttentionWorkload workload(
        {.model = StandardModel(1), .token_count = 16'384, .logit_deviation = deviation});

    const std::vector<double> logits = Logits(workload, 0, 5, 16'384);

    double mean = 0;
    double square = 0;
    const double count = 15'000;
    for (size_t t = 4; t < 15'004; ++t) mean += logits[t] / count;
    for (size_t t = 4; t < 15'004; ++t) square += (logits[t] - mean) * (logits[t] - mean) / count;
    // Topics make neighbours alike: about 2000 independent ones, and one query's
    // ripple differs from another's.
    EXPECT_NEAR(std::sqrt(square) / deviation, 1, 0.12);
  }
}

TEST(AttentionWorkloadTest, NeedlesTopTheBulkOnlyWhenAskedFor) {
  const AttentionWorkload workload({.model = StandardModel(3), .token_count = 16'384});
  const uint64_t position = 16'384 + 7;
  ASSERT_TRUE(workload.AsksForNeedles(position));
  ASSERT_FALSE(workload.AsksForNeedles(position + 1));
  const std::vector<uint64_t>& needles = workload.profile(2, 4).needles;
  ASSERT_FALSE(needles.empty());
  const auto best = [&](uint64_t at) {
    const std::vector<double> logits = Logits(workload, 2, 17, at);
    double best_needle = -1e9;
    double best_other = -1e9;
    for (size_t t = AttentionWorkload::kSinkCount; t < logits.size(); ++t) {
      double& best_of = std::ranges::binary_search(needles, t) ? best_needle : best_other;
      best_of = std::max(best_of, logits[t]);
    }
    return best_needle - best_other;
  };

  EXPECT_GT(best(position), 0.5);
  EXPECT_LT(best(position + 1), 0);
}

TEST(AttentionWorkloadTest, TheSinkTopsTheBulkByItsLift) {
  const AttentionWorkload workload(
      {.model = StandardModel(3), .token_count = 16'384, .logit_deviation = 3, .sink_lift = 6});

  const std::vector<double> logits = Logits(workload, 2, 9, 16'384);

  const double bulk = *std::max_element(logits.begin() + 4, logits.end());
  EXPECT_NEAR(logits[0] - bulk, 6, 3);
}

TEST(AttentionWorkloadTest, RecentTokensHaveABonus) {
  const AttentionWorkload workload({.model = StandardModel(1), .token_count = 16'384});
  double recent = 0;
  double old = 0;
  for (uint32_t head = 0; head < 32; head += 3) {
    const std::vector<double> logits = Logits(workload, 0, head, 16'384);
    for (size_t i = 0; i < 16; ++i) recent += logits[logits.size() - 1 - i];
    for (size_t i = 0; i < 16; ++i) old += logits[6000 + 100 * i];
  }

  EXPECT_GT(recent / (11 * 16), old / (11 * 16) + 1);
}

}  // namespace
}  // namespace alaya
