// A conversation that is stored turn by turn does not end as a chain of a hundred segments.

#include "server/engine/segment_merger.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

constexpr uint64_t kDocumentTokens = 200;
constexpr uint64_t kTurnTokens = 10;
constexpr uint64_t kTurns = 16;

class SegmentMergerTest : public EngineTest {
 protected:
  SegmentMergerTest()
      : sequence_(GroupedModel(), kDocumentTokens + kTurns * kTurnTokens, /*seed=*/3) {}
  ~SegmentMergerTest() override { engine_.reset(); }

  // Appends a turn to the session and stores it.
  void StoreTurn(const std::string& session_id, uint64_t turn) {
    const uint64_t begin = kDocumentTokens + turn * kTurnTokens;
    AppendAllLayers(sequence_, session_id, {begin, begin + kTurnTokens});
    StoreSessionParams params;
    params.tenant = kTenant;
    params.session_id = session_id;
    params.tokens = sequence_.tokens(begin + kTurnTokens);
    const auto stored = engine().StoreSession(params);
    ASSERT_TRUE(stored.ok()) << Message(stored.status());
  }
  template <class Condition>
  static bool Eventually(Condition condition) {
    for (int i = 0; i < 5'000 && !condition(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return condition();
  }

  TestSequence sequence_;
};

TEST_F(SegmentMergerTest, StoredTurnsAreJoinedWhileTheSessionGoesOn) {
  Register(sequence_.model());
  Import(sequence_, kDocumentTokens);
  const SessionInfo session = CreateSession(sequence_, kDocumentTokens);
  for (uint64_t turn = 0; turn < kTurns; ++turn) StoreTurn(session.session_id, turn);

  EXPECT_TRUE(Eventually([this] { return engine().stats().store.segments <= 7; }))
      << engine().stats().store.segments;
  EXPECT_GE(engine().stats().segment_merges, 1U);
  EXPECT_EQ(engine().stats().failed_segment_merges, 0U);
  ExpectHolds(sequence_, session.session_id, kDocumentTokens + kTurns * kTurnTokens);
  const SessionInfo other = CreateSession(sequence_, kDocumentTokens + kTurns * kTurnTokens);
  EXPECT_EQ(other.reused_tokens, kDocumentTokens + kTurns * kTurnTokens);
  ExpectHolds(sequence_, other.session_id, kDocumentTokens + kTurns * kTurnTokens);
}

TEST_F(SegmentMergerTest, AJoinedSegmentGetsItsOwnIndex) {
  options_.indexes.flat_min_tokens = 30;
  Register(sequence_.model());
  Import(sequence_, kDocumentTokens);
  const SessionInfo session = CreateSession(sequence_, kDocumentTokens);
  for (uint64_t turn = 0; turn < 4; ++turn) StoreTurn(session.session_id, turn);

  EXPECT_TRUE(Eventually([this] { return engine().stats().store.segments == 2; }));
  EXPECT_TRUE(Eventually([this] {
    return engine().stats().store.indexes[static_cast<size_t>(IndexKind::kFlat)].segments == 2;
  }));
}

TEST_F(SegmentMergerTest, WhatAnEarlierProcessLeftIsJoinedAtStart) {
  merge_ = {.segments_min = 0};
  Register(sequence_.model());
  Import(sequence_, kDocumentTokens);
  const SessionInfo session = CreateSession(sequence_, kDocumentTokens);
  for (uint64_t turn = 0; turn < 8; ++turn) StoreTurn(session.session_id, turn);
  ASSERT_EQ(engine().stats().store.segments, 9U);

  merge_ = {};
  OpenEngine();

  // How far depends on the order in which the contexts are looked at.
  EXPECT_TRUE(Eventually([this] { return engine().stats().store.segments <= 6; }));
}

}  // namespace
}  // namespace alaya
