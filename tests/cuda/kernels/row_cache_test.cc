#include "cuda/kernels/row_cache.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "index/attention/attention_merge.h"
#include "tests/cuda/kernels/sparse_fixture.h"
#include "tests/support/exact_attention.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr uint32_t kHeadDim = 64;
constexpr uint32_t kTokens = 3000;
constexpr uint32_t kQueries = 4;
constexpr float kLogAlpha = -4.4228486F;  // ln(0.012)

// A head whose rows the device does not reach, but for those in a cache.
class RowCacheTest : public testing::Test {
 protected:
  void MakeCache(uint32_t set_count) {
    memory_ = std::make_unique<PoisonedMemory>(RowCacheBytes(set_count, kHeadDim) + 1);
    std::memset(memory_->as<char>(), 0, RowCacheBytes(set_count, kHeadDim));
    cache_ = RowCacheAt(memory_->as<void>(), set_count, kHeadDim, head_->task().head.centre);
  }

  SparseTask Task(bool reaches_rows) {
    SparseTask task = head_->task();
    task.cache = cache_;
    if (!reaches_rows) task.keys.data = task.values.data = nullptr;
    return task;
  }

  SparseAnswer Answer(bool reaches_rows, float rest_error = 0.01F) {
    SparseAnswer answer =
        AnswerOnHost({Task(reaches_rows)}, kHeadDim, queries_,
                     {1 / std::sqrt(float{kHeadDim}), kLogAlpha, 3, rest_error}, kTokens);
    step_ = answer.step[0];
    return answer;
  }

  void Admit(const SparseAnswer& answer) { Admit(answer.missed, answer.missed_counts[0]); }
  void Admit(const std::vector<uint32_t>& missed, uint32_t count) {
    const RowOffers offers = {cache_,
                              missed.data(),
                              &count,
                              static_cast<uint32_t>(missed.size()),
                              head_->task().keys,
                              head_->task().values,
                              /*rows_by_token=*/true};
    RunAdmitRows(&offers, 1, &step_, HostLaunch());
  }

  std::vector<uint32_t> Cached() const {
    std::vector<uint32_t> tokens;
    for (uint32_t slot = 0; slot < cache_.set_count * kCacheWays; ++slot) {
      if (cache_.tags[slot] != 0) tokens.push_back(cache_.tags[slot] - 1);
    }
    return tokens;
  }

  // What a host does: exact attention to what was left out.
  void AddMissed(SparseAnswer* answer) const {
    const double scale = 1 / std::sqrt(double{kHeadDim});
    for (uint32_t q = 0; q < kQueries; ++q) {
      std::vector<uint32_t> tokens;
      for (uint32_t i = 0; i < answer->missed_counts[0]; ++i) {
        const uint32_t entry = answer->missed[i];
        if ((MissedQueries(entry) >> q & 1) != 0) tokens.push_back(MissedToken(entry));
      }
      const ExactAttention part = AttendTokens(ExactScores(answer->query(q), head_->key_matrix()),
                                               head_->value_matrix(), scale, tokens);
      const std::vector<float> output(part.output.begin(), part.output.end());
      const auto log_sum_exp = static_cast<float>(part.log_sum_exp);
      MergeAttention({{output.data(), 1, kHeadDim}, std::span(&log_sum_exp, 1)},
                     {{answer->outputs.data() + q * kHeadDim, 1, kHeadDim},
                      std::span(&answer->log_sum_exps[q], 1)});
    }
  }

  std::unique_ptr<TestHead> head_ = RandomHead(DType::kBF16, kHeadDim, kTokens, 100, 3);
  std::vector<float> queries_ = NormalFloats(size_t{kQueries} * kHeadDim, 3, 9);
  std::unique_ptr<PoisonedMemory> memory_;
  RowCache cache_;
  uint32_t step_ = 1;
};

TEST_F(RowCacheTest, TokensWithoutARowAreListedOnceAndTheHostCompletesTheAnswer) {
  MakeCache(0);
  SparseAnswer answer = Answer(/*reaches_rows=*/false);

  std::set<uint32_t> tokens;
  for (uint32_t i = 0; i < answer.missed_counts[0]; ++i) {
    EXPECT_NE(MissedQueries(answer.missed[i]), 0U);
    EXPECT_TRUE(tokens.insert(MissedToken(answer.missed[i])).second);
  }
  EXPECT_GT(tokens.size(), 20U);
  EXPECT_EQ(answer.rows_scored[0], 0U);
  AddMissed(&answer);
  for (uint32_t q = 0; q < kQueries; ++q) {
    const ExpectedAttention expected(*head_, answer.query(q), 1 / std::sqrt(double{kHeadDim}),
                                     std::numeric_limits<double>::infinity());
    EXPECT_LT(OutputError(answer.output(q), expected.full.output), 0.03);
    EXPECT_NEAR(answer.log_sum_exps[q], expected.full.log_sum_exp, 0.02);
  }
}

TEST_F(RowCacheTest, ACachedRowIsTheTokensToHalfAStep) {
  MakeCache(4);
  Admit({7, 500, 2999}, 3);

  for (const uint32_t token : {7U, 500U, 2999U}) {
    const uint32_t slot = FindCached(cache_, token);
    ASSERT_NE(slot, kNoSlot);
    const float key_scale = cache_.keys.scales[slot];
    const float value_scale = cache_.values.scales[slot];
    for (uint32_t e = 0; e < kHeadDim; ++e) {
      const auto key_code = static_cast<float>(cache_.keys.codes[slot * kHeadDim + e]);
      const auto value_code = static_cast<float>(cache_.values.codes[slot * kHeadDim + e]);
      EXPECT_NEAR(cache_.keys.centre[e] + key_scale * key_code, head_->key_matrix().row(token)[e],
                  0.501F * key_scale);
      EXPECT_NEAR(value_scale * value_code, head_->value_matrix().row(token)[e],
                  0.501F * value_scale);
    }
    EXPECT_LT(value_scale, 4.0F / 127);
  }
}

// With room for all: in the end only the heaviest tokens need another row.
TEST_F(RowCacheTest, StepByStepTheHostHasLessToDoAndTheAnswerStaysThatOfTheDefinition) {
  MakeCache(kTokens / kCacheWays * 3);
  uint32_t first_missed = 0;
  for (int step = 0; step < 12; ++step) {
    SparseAnswer answer = Answer(/*reaches_rows=*/false);
    uint32_t missed = 0;
    for (uint32_t i = 0; i < answer.missed_counts[0]; ++i) {
      missed += MissedQueries(answer.missed[i]) != 0 ? 1U : 0U;
    }
    EXPECT_LE(answer.missed_counts[0] - missed, MissedRows::kWantedMax);
    if (step == 0) first_missed = missed;
    Admit(answer);
    AddMissed(&answer);
    for (uint32_t q = 0; q < kQueries; ++q) {
      const ExpectedAttention expected(*head_, answer.query(q), 1 / std::sqrt(double{kHeadDim}),
                                       std::numeric_limits<double>::infinity());
      EXPECT_LT(OutputError(answer.output(q), expected.full.output), step < 11 ? 0.06 : 0.03);
      EXPECT_NEAR(answer.log_sum_exps[q], expected.full.log_sum_exp, 0.03);
    }
    if (step < 11) continue;
    EXPECT_LT(missed, first_missed / 4);
    EXPECT_EQ(answer.missed_counts[0], missed);  // nothing is wanted any more
    EXPECT_GT(answer.rows_scored[0], 10 * missed);
  }
}

TEST_F(RowCacheTest, ATokenThatOutweighsAllOthersIsAttendedByItsRow) {
  constexpr uint32_t kHeavy = 1500;
  for (uint32_t q = 0; q < kQueries; ++q) {
    for (uint32_t e = 0; e < kHeadDim; ++e) {
      queries_[q * kHeadDim + e] = 2 * head_->key_matrix().row(kHeavy)[e];
    }
  }
  MakeCache(kTokens / kCacheWays * 3);
  for (int step = 0; step < 2; ++step) Admit(Answer(/*reaches_rows=*/false));
  ASSERT_NE(FindCached(cache_, kHeavy), kNoSlot);

  SparseAnswer answer = Answer(/*reaches_rows=*/false);
  AddMissed(&answer);

  for (uint32_t q = 0; q < kQueries; ++q) {
    const ExpectedAttention expected(*head_, answer.query(q), 1 / std::sqrt(double{kHeadDim}),
                                     std::numeric_limits<double>::infinity());
    EXPECT_LT(OutputError(answer.output(q), expected.full.output), 0.001);
  }
}

TEST_F(RowCacheTest, ReachableRowsServeWhatTheCacheCannot) {
  MakeCache(kTokens / kCacheWays * 3);
  for (int step = 0; step < 12; ++step) Admit(Answer(/*reaches_rows=*/true));
  const SparseAnswer reachable = Answer(/*reaches_rows=*/true);
  SparseAnswer by_host = Answer(/*reaches_rows=*/false);

  EXPECT_EQ(reachable.missed_counts[0], by_host.missed_counts[0]);
  AddMissed(&by_host);
  for (uint32_t q = 0; q < kQueries; ++q) {
    const std::vector<double> expected(reachable.output(q).begin(), reachable.output(q).end());
    EXPECT_LT(OutputError(by_host.output(q), expected), 1e-3);
  }
}

TEST_F(RowCacheTest, ASearchThatPromisesMoreReadsNoCache) {
  MakeCache(0);
  const SparseAnswer exact = Answer(/*reaches_rows=*/true, /*rest_error=*/0);
  MakeCache(kTokens / kCacheWays * 3);
  Admit(Answer(/*reaches_rows=*/true));

  EXPECT_EQ(Answer(/*reaches_rows=*/true, /*rest_error=*/0).outputs, exact.outputs);
}

TEST_F(RowCacheTest, RowsUsedInTheStepStayAndTheLeastRecentlyUsedGo) {
  MakeCache(1);
  std::vector<uint32_t> offered(kCacheWays);
  for (uint32_t i = 0; i < kCacheWays; ++i) offered[i] = 500 + i;
  step_ = 10;
  Admit(offered, kCacheWays);
  for (uint32_t slot = 0; slot < kCacheWays; ++slot) cache_.last_steps[slot] = 19;
  cache_.last_steps[3] = 15;
  cache_.last_steps[7] = 12;
  step_ = 20;
  Admit({900, 901, 902}, 3);

  const std::vector<uint32_t> cached = Cached();
  EXPECT_EQ(cached.size(), kCacheWays);
  EXPECT_EQ(std::ranges::count(cached, 507U) + std::ranges::count(cached, 503U), 0);
  EXPECT_EQ(std::ranges::count(cached, 900U) + std::ranges::count(cached, 901U), 2);
  EXPECT_EQ(std::ranges::count(cached, 902U), 0);
}

TEST_F(RowCacheTest, OffersBeyondWhatIsThereAreNotLookedAt) {
  MakeCache(8);
  // The list had no room for all that were missed.
  Admit({1, 2, 3}, 1000);
  Admit({2, 3, 4}, 2);
  Admit({}, 0);

  EXPECT_EQ(std::ranges::count(Cached(), 2U), 1);
  EXPECT_EQ(Cached().size(), 3U);
}

TEST_F(RowCacheTest, SaysHowMuchOfAnAnswerIsEstimated) {
  MakeCache(0);
  const SparseAnswer without = Answer(/*reaches_rows=*/true, /*rest_error=*/0);
  const SparseAnswer with = Answer(/*reaches_rows=*/true);

  for (uint32_t q = 0; q < kQueries; ++q) {
    EXPECT_EQ(without.rest_shares[q], 0.0F);
    EXPECT_GT(with.rest_shares[q], 0.0F);
    EXPECT_LT(with.rest_shares[q], 1.0F);
  }
}

}  // namespace
}  // namespace alaya
