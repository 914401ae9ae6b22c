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
constexpr uint32_t kRowBytes = kHeadDim * 2;
constexpr float kLogAlpha = -4.4228486F;  // ln(0.012)

// A head whose rows the device does not reach, but for those in a cache.
class RowCacheTest : public testing::Test {
 protected:
  void MakeCache(uint32_t set_count) {
    memory_ = std::make_unique<PoisonedMemory>(RowCacheBytes(set_count, kRowBytes) + 1);
    std::memset(memory_->as<char>(), 0, RowCacheBytes(set_count, kRowBytes));
    cache_ = RowCacheAt(memory_->as<void>(), set_count, kRowBytes);
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

TEST_F(RowCacheTest, WhatWasMissedIsFoundInTheNextStepAndTheAnswerIsThatOfReachableRows) {
  MakeCache(kTokens / kCacheWays * 3);
  SparseAnswer first = Answer(/*reaches_rows=*/false);
  Admit(first);
  const SparseAnswer second = Answer(/*reaches_rows=*/false);
  const SparseAnswer reachable = Answer(/*reaches_rows=*/true);

  EXPECT_GT(first.missed_counts[0], 0U);
  EXPECT_EQ(second.missed_counts[0], 0U);
  EXPECT_EQ(second.outputs, reachable.outputs);
  EXPECT_EQ(second.tokens_attended, reachable.tokens_attended);
  // A search that does not know the top score attends to more, and is as near.
  AddMissed(&first);
  for (uint32_t q = 0; q < kQueries; ++q) {
    const std::vector<double> expected(second.output(q).begin(), second.output(q).end());
    EXPECT_LT(OutputError(first.output(q), expected), 0.02);
  }
}

TEST_F(RowCacheTest, ReachableRowsAreAttendedWhetherCachedOrNot) {
  MakeCache(0);
  const SparseAnswer without = Answer(/*reaches_rows=*/true);
  MakeCache(4);
  Admit(Answer(/*reaches_rows=*/true));
  const SparseAnswer with = Answer(/*reaches_rows=*/true);

  EXPECT_EQ(Cached().size(), 4 * kCacheWays);
  EXPECT_LT(with.missed_counts[0], without.missed_counts[0]);
  EXPECT_EQ(with.outputs, without.outputs);
  EXPECT_EQ(with.rest_shares, without.rest_shares);
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
  EXPECT_EQ(std::memcmp(cache_.keys + FindCached(cache_, 900) * kRowBytes,
                        head_->task().keys.row(900), kRowBytes),
            0);
  EXPECT_EQ(std::memcmp(cache_.values + FindCached(cache_, 901) * kRowBytes,
                        head_->task().values.row(901), kRowBytes),
            0);
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
