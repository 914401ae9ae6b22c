#include "server/engine/prefetch.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

class PrefetchTest : public EngineTest {
 protected:
  // A context that is on disk only.
  std::vector<SegmentLink> OnDisk(uint64_t token_count) {
    Register(GroupedModel());
    const TestSequence sequence(GroupedModel(), token_count, 1);
    EXPECT_FALSE(Import(sequence, token_count, "a").context_id.empty());
    OpenEngine();
    return store_->FindContext(kTenant, "a").value()->chain;
  }
  uint64_t PagesOfLayer(const std::vector<SegmentLink>& chain) const {
    const Model& model = chain[0].segment->model->model;
    const uint64_t page_tokens = PageTokens(model);
    return (chain[0].token_count + page_tokens - 1) / page_tokens * model.num_kv_heads * 2;
  }
  void WaitForPrefetched(uint64_t count) {
    while (store_->stats().cache.prefetched < count) std::this_thread::yield();
  }
};

TEST_F(PrefetchTest, ALayerWithoutAnIndexComesWhole) {
  const std::vector<SegmentLink> chain = OnDisk(1000);

  PrefetchLayer(store_.get(), chain, kSecond);

  WaitForPrefetched(PagesOfLayer(chain));
  EXPECT_EQ(store_->stats().cache.page_count(), PagesOfLayer(chain));
  EXPECT_FALSE(store_->IsResident({.segment = chain[0].segment->id, .layer = 0}));
  EXPECT_TRUE(store_->IsResident({.segment = chain[0].segment->id, .layer = 1}));
}

TEST_F(PrefetchTest, ANewSessionAnnouncesAllLayersThatFit) {
  const std::vector<SegmentLink> chain = OnDisk(1000);

  PrefetchSession(store_.get(), chain);

  WaitForPrefetched(2 * PagesOfLayer(chain));
  EXPECT_EQ(store_->ResidentTokens(chain), 1000U);
}

TEST_F(PrefetchTest, WhatIsReadWholeIsThereAndTheNextLayerComes) {
  const std::vector<SegmentLink> chain = OnDisk(1000);
  const SegmentId segment = chain[0].segment->id;
  const uint64_t page_tokens = PageTokens(GroupedModel());
  ASSERT_GT(1000U, 2 * page_tokens);

  LoadWhole(store_.get(), chain[0].segment, kFirst, {page_tokens, 1000});

  EXPECT_FALSE(store_->IsResident({.segment = segment, .layer = 0, .page_index = 0}));
  for (uint32_t page = 1; page * page_tokens < 1000; ++page) {
    for (const PageKind kind : {PageKind::kKey, PageKind::kValue}) {
      EXPECT_TRUE(store_->IsResident(
          {.segment = segment, .layer = 0, .page_index = page, .kind = kind, .head = 1}));
    }
  }
  const uint64_t page_count = PagesOfLayer(chain) - 2 * GroupedModel().num_kv_heads;
  WaitForPrefetched(2 * page_count);
  LoadWhole(store_.get(), chain[0].segment, kSecond, {page_tokens, 1000});
  EXPECT_EQ(store_->stats().cache.prefetched, 2 * page_count);
}

TEST_F(PrefetchTest, WhatTakesMoreThanHalfOfMemoryIsNotReadWhole) {
  constexpr uint64_t kTokens = 20'000;
  memory_budget_bytes_ = uint64_t{16} << 20;
  options_.indexes.build_thread_count = 0;  // a build would read pages, too
  const std::vector<SegmentLink> chain = OnDisk(kTokens);
  const uint64_t token_bytes = GroupedModel().token_bytes() / GroupedModel().num_layers;
  ASSERT_GT(kTokens * token_bytes, memory_budget_bytes_ / 2);
  const uint64_t half = kTokens / 2;
  ASSERT_LT(half * token_bytes, memory_budget_bytes_ / 2);
  const uint64_t pages_before = store_->stats().cache.page_count();

  EXPECT_FALSE(LoadWhole(store_.get(), chain[0].segment, kFirst, {0, kTokens}));
  EXPECT_EQ(store_->stats().cache.page_count(), pages_before);

  EXPECT_TRUE(LoadWhole(store_.get(), chain[0].segment, kFirst, {0, half}));
  EXPECT_GT(store_->stats().cache.page_count(), pages_before);
}

TEST_F(PrefetchTest, WhatIsInMemoryOrNotThereIsNotAnnounced) {
  const std::vector<SegmentLink> chain = OnDisk(1000);
  PrefetchSession(store_.get(), chain);
  WaitForPrefetched(2 * PagesOfLayer(chain));

  PrefetchSession(store_.get(), chain);
  PrefetchLayer(store_.get(), chain, LayerIndex{2});
  PrefetchLayer(store_.get(), {}, kFirst);

  EXPECT_EQ(store_->stats().cache.prefetched, 2 * PagesOfLayer(chain));
}

}  // namespace
}  // namespace alaya
