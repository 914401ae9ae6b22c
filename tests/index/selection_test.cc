#include "index/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "index/dipr/dipr_selection.h"
#include "index/mass/mass_selection.h"
#include "index/topk/top_k_selection.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Few distinct scores, so that many are equal.
std::vector<SequenceToken> Candidates(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<SequenceToken> candidates(count);
  for (size_t i = 0; i < count; ++i) {
    candidates[i] = {i, static_cast<float>(random() % 10) * 0.25F};
  }
  std::ranges::shuffle(candidates, random);
  return candidates;
}

std::vector<SequenceToken> Taken(const Selection& selection,
                                 const std::vector<SequenceToken>& candidates) {
  std::vector<SequenceToken> taken;
  std::ranges::copy_if(candidates, std::back_inserter(taken),
                       [&](const SequenceToken& token) { return selection.takes(token); });
  std::ranges::sort(taken, RanksBefore<SequenceToken>);
  return taken;
}

std::vector<SequenceToken> Best(std::vector<SequenceToken> candidates, size_t count) {
  std::ranges::sort(candidates, RanksBefore<SequenceToken>);
  candidates.resize(std::min(count, candidates.size()));
  return candidates;
}

TEST(SelectTopKTest, TakesTheBestAndOfEqualsTheEarlier) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{100}}) {
    for (size_t k = 1; k <= count + 1; ++k) {
      std::vector<SequenceToken> candidates = Candidates(count, /*seed=*/static_cast<uint32_t>(k));
      const std::vector<SequenceToken> original = candidates;

      const Selection selection = SelectTopK(candidates, k);

      EXPECT_EQ(Taken(selection, original), Best(original, k)) << count << " " << k;
    }
  }
}

TEST(SelectMassTest, TakesTheFewestThatReachTheShare) {
  const double scale = 0.7;
  for (const size_t count : {size_t{1}, size_t{2}, size_t{3}, size_t{100}}) {
    for (const double fraction : {1e-9, 0.1, 0.37, 0.9, 0.999}) {
      std::vector<SequenceToken> candidates = Candidates(count, /*seed=*/5);
      const std::vector<SequenceToken> ranked = Best(candidates, count);
      double total = 0;
      for (const SequenceToken& token : ranked) total += std::exp(scale * double{token.score});
      size_t expected = 0;
      for (double sum = 0; sum < fraction * total; ++expected) {
        sum += std::exp(scale * double{ranked[expected].score});
      }

      const Selection selection = SelectMass(candidates, fraction, std::log(total), scale);

      EXPECT_EQ(Taken(selection, ranked), Best(ranked, expected)) << count << " " << fraction;
    }
  }
}

TEST(SelectMassTest, TakesEverythingForAllOfTheMass) {
  std::vector<SequenceToken> candidates = Candidates(50, /*seed=*/6);

  EXPECT_EQ(Taken(SelectMass(candidates, 1.0, 0.0, 1.0), candidates).size(), 50);
}

TEST(SelectMassTest, TakesEverythingIfTheCandidatesHoldLess) {
  std::vector<SequenceToken> candidates = Candidates(50, /*seed=*/6);

  EXPECT_EQ(Taken(SelectMass(candidates, 0.5, 100.0, 1.0), candidates).size(), 50);
}

TEST(DiprBarTest, IsTheLowestFloatInRange) {
  std::mt19937 random(/*seed=*/7);
  std::uniform_real_distribution<float> uniform(-100.0F, 100.0F);
  for (int i = 0; i < 10000; ++i) {
    const float best = uniform(random);
    const double beta = std::fabs(double{uniform(random)});

    const float bar = DiprBar(best, beta);

    EXPECT_GE(double{bar}, double{best} - beta);
    EXPECT_LT(double{std::nextafter(bar, -kInfinity)}, double{best} - beta);
  }
}

TEST(DiprBarTest, OfAlphaOneIsTheBest) { EXPECT_EQ(DiprBar(3.25F, 0.0), 3.25F); }

TEST(DiprBarTest, WithoutABestLetsEverythingPass) {
  EXPECT_EQ(DiprBar(-kInfinity, 5.0), -kInfinity);
}

TEST(DiprBarTest, BelowTheRangeOfFloatIsTheLowestFloat) {
  EXPECT_EQ(DiprBar(0.0F, 1e300), std::numeric_limits<float>::lowest());
}

TEST(SelectDiprTest, TakesTheBarItself) {
  const Selection selection = SelectDipr(10.0F, 2.5);

  EXPECT_TRUE(selection.takes({99, 7.5F}));
  EXPECT_FALSE(selection.takes({0, std::nextafter(7.5F, 0.0F)}));
}

}  // namespace
}  // namespace alaya
