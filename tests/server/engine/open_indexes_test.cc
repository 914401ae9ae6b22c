// Searching a stored index, and doing without it when it is damaged.

#include "server/engine/open_indexes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "index/exact_index.h"
#include "server/engine/index_build.h"
#include "server/engine/index_table.h"
#include "server/engine/segment_reader.h"
#include "server/engine/sequence_view.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/test_index.h"

namespace alaya {
namespace {

constexpr LayerIndex kLayer{1};
constexpr uint64_t kTokens = 1300;  // three blocks of keys

class OpenIndexesTest : public EngineTest {
 protected:
  OpenIndexesTest() : sequence_(GroupedModel(), kTokens, /*seed=*/5) {
    options_.indexes.build_thread_count = 0;
    Register(sequence_.model());
    Import(sequence_, kTokens);
    segment_ = store_->ListSegments()[0];
  }

  void Build(const IndexKindRow& row) {
    const Status built = BuildSegmentIndex(store_.get(), segment_, row, [] { return false; });
    ASSERT_TRUE(built.ok()) << Message(built);
  }
  std::unique_ptr<OpenIndexes> Open() {
    return std::make_unique<OpenIndexes>(store_.get(), *segment_, &kinds_, &listener_);
  }
  // The tokens above an alpha, found by an index of head 1.
  std::vector<ScoredToken> Search(const TokenIndex& index) {
    const std::vector<float> query(sequence_.model().head_dim, 0.5F);
    const std::vector<TokenRange> visible = {{10, kTokens}};
    const std::vector<float> best = {-std::numeric_limits<float>::infinity()};
    SearchRequest request;
    request.queries = {query.data(), 1, query.size()};
    request.visible = visible;
    request.target = DiprTarget{0.01};
    request.scale = 0.125F;
    request.best_scores = best;
    const auto found = index.Search(request);
    EXPECT_TRUE(found.ok()) << Message(found.status());
    return found.ok() ? found->queries[0].tokens : std::vector<ScoredToken>();
  }
  std::vector<ScoredToken> Scan() {
    const SegmentReader reader(store_.get(), *segment_, kLayer, KvHeadIndex{1});
    return Search(ExactIndex(&reader));
  }

  TestIndexControl control_;
  TestSequence sequence_;
  IndexKindTable kinds_ = {TestIndexKind(IndexKind::kFlat, &control_),
                           TestIndexKind(IndexKind::kFine, &control_)};
  std::atomic<int> damage_count_{0};
  IndexDamageListener listener_ = [this](SegmentId segment, IndexKind kind, const Status& status) {
    EXPECT_EQ(segment, segment_->id);
    EXPECT_EQ(kind, IndexKind::kFlat);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    ++damage_count_;
  };
  std::shared_ptr<const Segment> segment_;
};

TEST_F(OpenIndexesTest, WhatIsBuiltIsAvailableAndAnswers) {
  const auto indexes = Open();
  EXPECT_TRUE(indexes->available().empty());
  EXPECT_EQ(indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1}), nullptr);

  Build(kinds_[0]);

  EXPECT_EQ(indexes->available(), IndexKindSet{IndexKind::kFlat});
  const TokenIndex* index = indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1});
  ASSERT_NE(index, nullptr);
  EXPECT_EQ(index->kind(), IndexKind::kFlat);
  EXPECT_EQ(Search(*index), Scan());
  EXPECT_FALSE(Scan().empty());
  EXPECT_EQ(control_.search_count, 1U);
  EXPECT_EQ(indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1}), index);
  EXPECT_EQ(indexes->Find(IndexKind::kFine, kLayer, KvHeadIndex{1}), nullptr);
  EXPECT_GT(indexes->disk_reads(), 0U);
  // Head 0, which is asked, was opened but not searched.
  EXPECT_GT(indexes->ResidentShare(IndexKind::kFlat, kLayer), 0);
  EXPECT_GT(indexes->bytes(IndexKind::kFlat, kLayer), 2 * kTokens * 128);
}

TEST_F(OpenIndexesTest, AnIndexOfAnUnknownVersionIsNotThere) {
  Build(TestIndexKind(IndexKind::kFlat, &control_, /*version=*/9));

  EXPECT_TRUE(Open()->available().empty());
}

TEST_F(OpenIndexesTest, ADamagedIndexIsReportedOnceAndReplacedByTheScan) {
  Build(kinds_[0]);
  const auto indexes = Open();
  const TokenIndex* index = indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1});
  control_.search_is_damaged = true;

  EXPECT_EQ(Search(*index), Scan());
  EXPECT_EQ(Search(*index), Scan());

  EXPECT_EQ(damage_count_, 1);
  EXPECT_TRUE(indexes->available().empty());
  EXPECT_EQ(indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1}), nullptr);
}

TEST_F(OpenIndexesTest, ANewIndexTakesTheDamagedOnesPlace) {
  Build(kinds_[0]);
  const auto indexes = Open();
  const TokenIndex* damaged = indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1});
  control_.search_is_damaged = true;
  Search(*damaged);
  control_.search_is_damaged = false;

  Build(kinds_[0]);

  const TokenIndex* index = indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1});
  ASSERT_NE(index, nullptr);
  EXPECT_NE(index, damaged);
  EXPECT_EQ(Search(*index), Scan());
  EXPECT_EQ(control_.search_count, 1U);
  // Whoever still has the old one gets answers too.
  EXPECT_EQ(Search(*damaged), Scan());
}

TEST_F(OpenIndexesTest, AnIndexThatCannotBeOpenedIsReplacedByTheScan) {
  IndexKindRow other = kinds_[0];
  other.build = [](const IndexBuildInput&, const IndexBlockSink& sink) {
    return sink(std::vector<std::byte>(8));  // the number of tokens is 0
  };
  Build(other);
  const auto indexes = Open();

  const TokenIndex* index = indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1});

  ASSERT_NE(index, nullptr);
  EXPECT_EQ(Search(*index), Scan());
  EXPECT_EQ(control_.search_count, 0U);
  EXPECT_EQ(damage_count_, 1);
  EXPECT_TRUE(indexes->available().empty());
}

TEST_F(OpenIndexesTest, ManyThreadsOpenAnIndexOnce) {
  std::atomic<int> open_count{0};
  kinds_[0].open = [&, open = kinds_[0].open](const IndexBlockReader* blocks, const KvReader* kv) {
    ++open_count;
    return open(blocks, kv);
  };
  Build(kinds_[0]);
  const auto indexes = Open();
  const std::vector<ScoredToken> expected = Scan();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      EXPECT_EQ(Search(*indexes->Find(IndexKind::kFlat, kLayer, KvHeadIndex{1})), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(open_count, 2);  // the layer's heads
  EXPECT_EQ(control_.search_count, 4U);
}

class SequenceViewTest : public OpenIndexesTest {
 protected:
  SequenceSource Source(IndexTable* table) {
    return {.store = store_.get(),
            .indexes = table,
            .model = &sequence_.model(),
            .chain = &chain_,
            .layer = kLayer};
  }

  std::vector<SegmentLink> chain_ = {{segment_, kTokens - 100}};
};

TEST_F(SequenceViewTest, TheChosenIndexSearchesItsSegment) {
  Build(kinds_[1]);
  IndexTable table(store_.get(), kinds_, nullptr);
  SequenceView view(Source(&table), {0, kTokens - 100});
  EXPECT_EQ(view.available(0), (IndexKindSet{IndexKind::kExact, IndexKind::kFine}));
  EXPECT_EQ(view.parts(KvHeadIndex{1})[0].index->kind(), IndexKind::kExact);
  EXPECT_EQ(view.ResidentShare(0, IndexKind::kFine), 0);
  EXPECT_GT(view.IndexBytes(0, IndexKind::kFine), 0U);
  EXPECT_EQ(view.IndexBytes(0, IndexKind::kExact), 0U);
  EXPECT_EQ(view.tier(0), Tier::kMemory);

  view.Choose(0, IndexKind::kFine);

  const SequencePart& part = view.parts(KvHeadIndex{1})[0];
  EXPECT_EQ(part.index->kind(), IndexKind::kFine);
  EXPECT_EQ(part.reader->token_count(), kTokens - 100);
  Search(*part.index);
  EXPECT_EQ(control_.search_count, 1U);
  EXPECT_EQ(view.tier(0), Tier::kDisk);

  view.Choose(0, IndexKind::kExact);

  EXPECT_EQ(view.parts(KvHeadIndex{1})[0].index->kind(), IndexKind::kExact);
}

TEST_F(SequenceViewTest, WithoutATableOnlyTheScanIsAvailable) {
  Build(kinds_[0]);
  SequenceView view(Source(nullptr), {0, kTokens});

  EXPECT_EQ(view.available(0), IndexKindSet{IndexKind::kExact});
  view.Choose(0, IndexKind::kExact);
  EXPECT_EQ(view.parts(KvHeadIndex{0})[0].index->kind(), IndexKind::kExact);
}

TEST_F(SequenceViewTest, TheTableForgetsDeadSegments) {
  IndexTable table(store_.get(), kinds_, nullptr);
  std::weak_ptr<OpenIndexes> first = table.Find(segment_);
  EXPECT_EQ(first.lock(), table.Find(segment_));
  const std::string id = store_->ListContexts({.tenant = kTenant}, "", 1)[0]->id;
  ASSERT_TRUE(engine().DeleteContext(kTenant, id).ok());
  chain_.clear();
  segment_.reset();
  Import(sequence_, 200);

  table.Find(store_->ListSegments()[0]);

  EXPECT_TRUE(first.expired());
}

}  // namespace
}  // namespace alaya
