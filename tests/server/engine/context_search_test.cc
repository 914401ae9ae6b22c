// Raw retrieval against scores by definition.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "server/engine/index_build.h"
#include "server/engine/index_kinds.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/element_codec.h"

namespace alaya {
namespace {

class ContextSearchTest : public EngineTest {
 protected:
  ContextSearchTest() : sequence_(GroupedModel(), 500, /*seed=*/21) {}

  const TestSequence sequence_;
};

TEST_F(ContextSearchTest, SearchFindsTheHighestScoresAcrossSegments) {
  Register(sequence_.model());
  Import(sequence_, 300);
  Import(sequence_, 450, "c");
  SearchParams params{.tenant = kTenant,
                      .context_id = "c",
                      .layer = kSecond,
                      .query = sequence_.query(kSecond, {450, 452}),
                      .target = TopKTarget{7},
                      .token_range = TokenRange{100, 440},
                      .scale = {}};

  const auto answer = engine().SearchContext(params);

  ASSERT_TRUE(answer.ok()) << Message(answer.status());
  ASSERT_EQ(answer->heads.size(), 8U);
  const std::vector<float> keys = Decode(sequence_.key(kSecond, {0, 450}).data, DType::kBF16);
  const std::vector<float> queries = Decode(params.query.data, DType::kF32);
  for (size_t row = 0; row < answer->heads.size(); ++row) {
    const size_t kv_head = row % 4 / 2;
    std::vector<std::pair<double, uint64_t>> scores;
    for (uint64_t token = 100; token < 440; ++token) {
      double score = 0;
      for (size_t i = 0; i < 64; ++i) {
        score += double{queries[row * 64 + i]} * keys[(token * 2 + kv_head) * 64 + i];
      }
      scores.emplace_back(-score, token);
    }
    std::ranges::sort(scores);
    ASSERT_EQ(answer->heads[row].size(), 7U);
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(answer->heads[row][i].token, scores[i].second) << "row " << row;
      EXPECT_NEAR(answer->heads[row][i].score, -scores[i].first, 1e-3);
    }
  }
  EXPECT_EQ(answer->stats.plans.size(), 2U);
}

TEST_F(ContextSearchTest, AFlatIndexChangesNothingButTheWork) {
  options_.indexes.build_thread_count = 0;
  const TestSequence sequence(GroupedModel(), 3000, /*seed=*/22);
  Register(sequence.model());
  Import(sequence, 3000, "c");
  SearchParams params{.tenant = kTenant,
                      .context_id = "c",
                      .layer = kSecond,
                      .query = sequence.query(kSecond, {2990, 2993}),
                      .target = DiprTarget{0.3},
                      .token_range = TokenRange{100, 2900},
                      .scale = 1};
  const SearchParams top_k = [&] {
    SearchParams changed = params;
    changed.target = TopKTarget{20};
    return changed;
  }();
  const auto scanned = engine().SearchContext(params);
  const auto scanned_top = engine().SearchContext(top_k);
  const IndexKindTable kinds = StandardIndexKinds();
  const Status built =
      BuildSegmentIndex(store_.get(), store_->ListSegments()[0],
                        *FindIndexKind(kinds, IndexKind::kFlat), [] { return false; });
  ASSERT_TRUE(built.ok()) << Message(built);

  const auto found = engine().SearchContext(params);
  const auto found_top = engine().SearchContext(top_k);

  ASSERT_TRUE(scanned.ok() && scanned_top.ok() && found.ok() && found_top.ok());
  EXPECT_EQ(scanned->stats.plans[0].index, IndexKind::kExact);
  EXPECT_EQ(found->stats.plans[0].index, IndexKind::kFlat);
  EXPECT_LT(found->stats.tokens_scored, scanned->stats.tokens_scored);
  for (const auto& [indexed, exact] : {std::pair(&found, &scanned), {&found_top, &scanned_top}}) {
    for (size_t head = 0; head < (*exact)->heads.size(); ++head) {
      const auto& hits = (*indexed)->heads[head];
      const auto& expected = (*exact)->heads[head];
      ASSERT_EQ(hits.size(), expected.size()) << head;
      for (size_t i = 0; i < hits.size(); ++i) {
        EXPECT_EQ(hits[i].token, expected[i].token);
        EXPECT_EQ(hits[i].score, expected[i].score);
      }
    }
  }
}

TEST_F(ContextSearchTest, BadSearchesAreRefused) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  const SearchParams good{.tenant = kTenant,
                          .context_id = "c",
                          .layer = kFirst,
                          .query = sequence_.query(kFirst, {0, 1}),
                          .target = DiprTarget(),
                          .token_range = {},
                          .scale = {}};
  EXPECT_TRUE(engine().SearchContext(good).ok());

  void (*const spoils[])(SearchParams*) = {
      [](auto* p) { p->target = FullTarget(); }, [](auto* p) { p->target = TopKTarget{0}; },
      [](auto* p) { p->layer = LayerIndex{2}; }, [](auto* p) { p->scale = -1; },
      [](auto* p) { p->query.heads = 2; },       [](auto* p) {
        p->token_range = TokenRange{2, 1}; },
  };
  for (const auto spoil : spoils) {
    SearchParams bad = good;
    spoil(&bad);
    EXPECT_EQ(engine().SearchContext(bad).status().code(), StatusCode::kInvalidArgument);
  }
  SearchParams unknown = good;
  unknown.context_id = "d";
  EXPECT_EQ(engine().SearchContext(unknown).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace alaya
