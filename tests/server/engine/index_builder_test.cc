// Indexes come by themselves, in the background, and only once.

#include "server/engine/index_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "index/kernels/encoding.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/test_index.h"

namespace alaya {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kFlatMinTokens = 100;
// Every segment of the model has so many heads to build.
constexpr uint64_t kHeads = 4;

class IndexBuilderTest : public EngineTest {
 protected:
  IndexBuilderTest() : sequence_(GroupedModel(), 700, /*seed=*/5) {
    options_.indexes.kinds = {TestIndexKind(IndexKind::kFlat, &control_),
                              TestIndexKind(IndexKind::kCoarse, &control_),
                              TestIndexKind(IndexKind::kFine, &control_)};
    options_.indexes.flat_min_tokens = kFlatMinTokens;
    options_.indexes.on_event = [this](const IndexEvent& event) {
      const std::scoped_lock lock(mutex_);
      events_.push_back(event);
    };
  }
  ~IndexBuilderTest() override {
    // Before what its threads use.
    engine_.reset();
  }

  // Imports tokens with a wish.
  void ImportWith(uint64_t token_count, std::vector<IndexKind> kinds) {
    ImportHeader header = Header(sequence_, token_count);
    header.index_kinds = std::move(kinds);
    auto import = engine().BeginImport(std::move(header));
    ASSERT_TRUE(import.ok()) << Message(import.status());
    for (uint32_t layer = 0; layer < sequence_.model().num_layers; ++layer) {
      ImportChunk chunk = sequence_.Chunk(LayerIndex{layer}, {0, token_count});
      chunk.query = sequence_.query(LayerIndex{layer}, {0, 9});
      ASSERT_TRUE((*import)->AddChunk(chunk).ok());
    }
    ASSERT_TRUE((*import)->Finish().ok());
  }
  template <class Condition>
  static bool Eventually(Condition condition) {
    for (int i = 0; i < 5'000 && !condition(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return condition();
  }
  IndexBuildStats Stats() { return engine().stats().index_builds; }
  // Waits until nothing is left to build.
  IndexBuildStats Settled() {
    EXPECT_TRUE(Eventually([this] { return Stats().pending + Stats().running == 0; }));
    return Stats();
  }
  std::vector<IndexKind> Built(size_t segment_index = 0) {
    std::vector<IndexKind> kinds;
    for (const StoredIndex* index : store_->ListSegments()[segment_index]->indexes.list()) {
      kinds.push_back(static_cast<IndexKind>(index->kind));
    }
    return kinds;
  }

  TestIndexControl control_;
  TestSequence sequence_;
  std::mutex mutex_;
  std::vector<IndexEvent> events_;
};

TEST_F(IndexBuilderTest, ALongSegmentGetsTheFlatIndexAndNeverAgain) {
  Register(sequence_.model());
  Import(sequence_, 600);
  EXPECT_EQ(Settled().done, 1U);
  EXPECT_EQ(control_.build_count, kHeads);
  EXPECT_THAT(Built(), ElementsAre(IndexKind::kFlat));
  {
    const std::scoped_lock lock(mutex_);
    ASSERT_EQ(events_.size(), 1U);
    EXPECT_EQ(events_[0].what, IndexEvent::What::kBuilt);
    EXPECT_EQ(events_[0].kind, IndexKind::kFlat);
    EXPECT_EQ(events_[0].token_count, 600U);
  }

  OpenEngine();

  EXPECT_EQ(Settled().done, 0U);
  EXPECT_EQ(control_.build_count, kHeads);
  EXPECT_THAT(Built(), ElementsAre(IndexKind::kFlat));
  EXPECT_EQ(engine().stats().store.indexes[2].segments, 1U);
}

TEST_F(IndexBuilderTest, AShortSegmentGetsNone) {
  Register(sequence_.model());
  Import(sequence_, kFlatMinTokens - 1);

  EXPECT_EQ(Settled().done, 0U);
  EXPECT_TRUE(Built().empty());
}

TEST_F(IndexBuilderTest, KindsAskedForAreBuiltWhateverTheLength) {
  Register(sequence_.model());
  ImportWith(50, {IndexKind::kCoarse, IndexKind::kFine});

  EXPECT_EQ(Settled().done, 2U);
  EXPECT_THAT(Built(), ElementsAre(IndexKind::kCoarse, IndexKind::kFine));
}

TEST_F(IndexBuilderTest, ExactAloneMeansNoIndex) {
  Register(sequence_.model());
  ImportWith(600, {IndexKind::kExact});
  EXPECT_EQ(Settled().done, 0U);

  OpenEngine();

  EXPECT_EQ(Settled().done, 0U);
  EXPECT_TRUE(Built().empty());
}

TEST_F(IndexBuilderTest, WhatWasNotBuiltIsBuiltAfterTheNextStart) {
  options_.indexes.build_thread_count = 0;
  Register(sequence_.model());
  ImportWith(50, {IndexKind::kFine});
  EXPECT_EQ(Stats().pending, 0U);
  EXPECT_TRUE(Built().empty());

  options_.indexes.build_thread_count = 2;
  OpenEngine();

  EXPECT_EQ(Settled().done, 1U);
  EXPECT_THAT(Built(), ElementsAre(IndexKind::kFine));
}

TEST_F(IndexBuilderTest, AnIndexOfAnotherVersionIsNotUsedButBuiltAnew) {
  Register(sequence_.model());
  Import(sequence_, 600);
  EXPECT_EQ(Settled().done, 1U);

  options_.indexes.kinds = {TestIndexKind(IndexKind::kFlat, &control_, /*version=*/2)};
  OpenEngine();

  EXPECT_EQ(Settled().done, 1U);
  EXPECT_EQ(store_->ListSegments()[0]->indexes.find(2)->version, 2U);
}

TEST_F(IndexBuilderTest, AStoredSessionGetsItsIndex) {
  Register(sequence_.model());
  Import(sequence_, 50);
  const std::string session = CreateSession(sequence_, 50).session_id;
  AppendAllLayers(sequence_, session, {50, 400});
  ASSERT_TRUE(engine()
                  .StoreSession({.tenant = kTenant,
                                 .session_id = session,
                                 .tokens = sequence_.tokens(400),
                                 .context_id = {},
                                 .labels = {},
                                 .ttl = {}})
                  .ok());

  EXPECT_EQ(Settled().done, 1U);
  EXPECT_TRUE(Built(0).empty());
  EXPECT_THAT(Built(1), ElementsAre(IndexKind::kFlat));
}

TEST_F(IndexBuilderTest, AFailedBuildIsCountedAndTriedAgainAfterTheNextStart) {
  control_.build_fails = true;
  Register(sequence_.model());
  Import(sequence_, 600);
  EXPECT_EQ(Settled().failed, 1U);
  EXPECT_TRUE(Built().empty());
  {
    const std::scoped_lock lock(mutex_);
    ASSERT_EQ(events_.size(), 1U);
    EXPECT_EQ(events_[0].what, IndexEvent::What::kBuildFailed);
    EXPECT_THAT(events_[0].status.ToString(), HasSubstr("on purpose"));
  }
  const std::string session = CreateSession(sequence_, 600).session_id;
  EXPECT_TRUE(Attend(QueryItem(sequence_, session, LayerIndex{0}, {599, 600})).status.ok());

  control_.build_fails = false;
  OpenEngine();

  EXPECT_EQ(Settled().done, 1U);
}

TEST_F(IndexBuilderTest, ADamagedIndexIsCountedAndBuiltAgainOnce) {
  Register(sequence_.model());
  Import(sequence_, 600);
  EXPECT_EQ(Settled().done, 1U);
  const std::shared_ptr<const Segment> segment = store_->ListSegments()[0];
  const StoredIndex* damaged = segment->indexes.find(2);
  IndexBuilder builder(store_.get(), options_.indexes);
  const auto settled = [&] { return builder.stats().pending + builder.stats().running == 0; };

  builder.Rebuild(segment->id, IndexKind::kFlat, DataLoss("for a test"));

  ASSERT_TRUE(Eventually(settled));
  EXPECT_EQ(builder.stats().damaged, 1U);
  EXPECT_EQ(builder.stats().done, 1U);
  EXPECT_NE(segment->indexes.find(2), damaged);
  {
    const std::scoped_lock lock(mutex_);
    EXPECT_TRUE(std::any_of(events_.begin(), events_.end(), [&](const IndexEvent& event) {
      return event.what == IndexEvent::What::kDamaged && event.segment == segment->id &&
             event.status.code() == StatusCode::kDataLoss;
    }));
  }

  builder.Rebuild(segment->id, IndexKind::kFlat, DataLoss("for a test"));

  ASSERT_TRUE(Eventually(settled));
  EXPECT_EQ(builder.stats().damaged, 2U);
  EXPECT_EQ(builder.stats().done, 1U);
}

TEST_F(IndexBuilderTest, DeletingTheContextEndsItsBuild) {
  control_.build_waits = true;
  Register(sequence_.model());
  const std::string id = Import(sequence_, 600).context_id;
  ASSERT_TRUE(Eventually([this] { return control_.build_count == 1; }));

  ASSERT_TRUE(engine().DeleteContext(kTenant, id).ok());

  const IndexBuildStats stats = Settled();
  EXPECT_EQ(stats.done + stats.failed, 0U);
  EXPECT_TRUE(store_->ListSegments().empty());
}

TEST_F(IndexBuilderTest, AQueuedBuildKeepsNoDeletedSegmentAlive) {
  control_.build_waits = true;
  Register(sequence_.model());
  const TestSequence other(GroupedModel(), 600, /*seed=*/6);
  Import(sequence_, 600);
  ASSERT_TRUE(Eventually([this] { return control_.build_count == 1; }));
  const std::string id = Import(other, 600).context_id;
  std::weak_ptr<const Segment> segment = store_->FindContext(kTenant, id).value()->chain[0].segment;
  EXPECT_EQ(Stats().pending, 1U);

  ASSERT_TRUE(engine().DeleteContext(kTenant, id).ok());

  EXPECT_TRUE(segment.expired());
  control_.build_waits = false;
  EXPECT_EQ(Settled().done, 1U);
}

TEST_F(IndexBuilderTest, ADrainEndsTheBuildUnderWay) {
  control_.build_waits = true;
  Register(sequence_.model());
  Import(sequence_, 600);
  ASSERT_TRUE(Eventually([this] { return control_.build_count == 1; }));

  engine().Drain();

  EXPECT_EQ(Stats().running, 0U);
  EXPECT_EQ(Stats().failed, 0U);
  EXPECT_TRUE(Built().empty());
}

TEST_F(IndexBuilderTest, QueriesBeforeAnIndexIsDoneUseTheScan) {
  control_.build_waits = true;
  Register(sequence_.model());
  Import(sequence_, 600);
  ASSERT_TRUE(Eventually([this] { return control_.build_count == 1; }));
  const std::string session = CreateSession(sequence_, 600).session_id;
  AttendItem item = QueryItem(sequence_, session, LayerIndex{0}, {599, 600});
  item.options.target = DiprTarget{0.05};

  const AttendResult result = Attend(item);

  sequence_.ExpectAttention(result, {.layer = LayerIndex{0},
                                     .first_query = 599,
                                     .visible = EqualVisible({0, 600}, 1),
                                     .options = item.options});
  EXPECT_EQ(control_.search_count, 0U);
}

TEST_F(IndexBuilderTest, ABuildThatWantsThemGetsTheSampledQueriesOfItsGroup) {
  Register(sequence_.model());
  ImportWith(50, {IndexKind::kFine});
  EXPECT_EQ(Settled().done, 1U);

  // The build of head 1 of layer 1 comes last: query heads 2 and 3.
  const Model& model = sequence_.model();
  const TensorView queries = sequence_.query(LayerIndex{1}, {0, 9});
  std::vector<float> expected;
  for (size_t token = 0; token < 9; ++token) {
    for (size_t head = 2; head < 4; ++head) {
      const size_t row = token * queries.heads + head;
      for (size_t i = 0; i < model.head_dim; ++i) {
        float value = 0;
        std::memcpy(&value, queries.data.data() + (row * model.head_dim + i) * sizeof(float),
                    sizeof(value));
        expected.push_back(value);
      }
    }
  }
  const std::scoped_lock lock(control_.mutex);
  ASSERT_EQ(control_.queries.size(), kHeads);
  ASSERT_EQ(control_.queries[3].size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    // Stored in the model's bf16.
    ASSERT_NEAR(control_.queries[3][i], expected[i], std::abs(expected[i]) / 128) << i;
  }
}

TEST_F(IndexBuilderTest, ABuildKeepsToItsShareOfTheTime) {
  using std::chrono::steady_clock;
  options_.indexes.build_cpu_share = 0.2;
  IndexKindRow slow = TestIndexKind(IndexKind::kFlat, &control_);
  std::atomic<int64_t> elapsed_ms{0};
  slow.build = [&](const IndexBuildInput& input, const IndexBlockSink& sink) {
    const auto begin = steady_clock::now();
    for (int i = 0; i < 4; ++i) {
      // 10 ms of work between two questions.
      for (const auto start = steady_clock::now();
           steady_clock::now() - start < std::chrono::milliseconds(10);) {
      }
      if (input.should_stop()) return MakeError(StatusCode::kCancelled, "stopped");
    }
    elapsed_ms +=
        std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begin).count();
    return sink(std::vector<std::byte>(8));
  };
  options_.indexes.kinds = {slow};
  Register(sequence_.model());
  Import(sequence_, 600);

  EXPECT_EQ(Settled().done, 1U);
  // Four times 10 ms of work and 40 ms of pause, in each of the heads.
  EXPECT_GE(elapsed_ms.load(), static_cast<int64_t>(kHeads) * 4 * 50 * 9 / 10);
}

TEST(IndexBuilderOptionsTest, AShareOutsideOfItsRangeIsRefused) {
  for (const double share : {0.0, -0.5, 1.5, std::nan("")}) {
    EngineOptions options;
    options.indexes.build_cpu_share = share;
    EXPECT_EQ(Engine::Open(options, nullptr, nullptr, nullptr).status().code(),
              StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace alaya
