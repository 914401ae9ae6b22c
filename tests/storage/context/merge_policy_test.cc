// Which segments of a chain are joined.

#include "storage/context/merge_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace alaya {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class MergePolicyTest : public testing::Test {
 protected:
  // Segments of these lengths, numbered from 1.
  static std::vector<SegmentLink> Chain(const std::vector<uint64_t>& token_counts) {
    std::vector<SegmentLink> chain;
    for (const uint64_t count : token_counts) {
      auto segment = std::make_shared<Segment>();
      segment->id = SegmentId{chain.size() + 1};
      segment->token_count = count;
      chain.push_back({std::move(segment), count});
    }
    return chain;
  }
  std::vector<uint64_t> FindIn(const std::vector<SegmentLink>& chain) const {
    std::vector<uint64_t> ids;
    const auto is_only_successor = [this](const Segment& before, const Segment&) {
      return ToInt(before.id) != branches_after_;
    };
    for (const auto& segment : FindMergeRun(chain, is_only_successor, options_)) {
      ids.push_back(ToInt(segment->id));
    }
    return ids;
  }
  std::vector<uint64_t> Find(const std::vector<uint64_t>& token_counts) const {
    return FindIn(Chain(token_counts));
  }

  MergeOptions options_{.segments_min = 3, .tokens_max = 1000};
  uint64_t branches_after_ = 0;
};

TEST_F(MergePolicyTest, FewSegmentsStay) {
  EXPECT_THAT(Find({}), IsEmpty());
  EXPECT_THAT(Find({10}), IsEmpty());
  EXPECT_THAT(Find({10, 10}), IsEmpty());
}

TEST_F(MergePolicyTest, ShortOnesBehindALongOneAreJoined) {
  EXPECT_THAT(Find({900, 10, 10, 10}), ElementsAre(2, 3, 4));
}

TEST_F(MergePolicyTest, WhatJoinsIsAsLargeAsWhatItJoins) {
  EXPECT_THAT(Find({30, 10, 10, 10}), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Find({31, 10, 10, 10}), ElementsAre(2, 3, 4));
  EXPECT_THAT(Find({400, 200, 100}), IsEmpty());
}

TEST_F(MergePolicyTest, AJoinedSegmentKeepsToItsLimit) {
  EXPECT_THAT(Find({400, 300, 300, 1}), ElementsAre(1, 2, 3));
  EXPECT_THAT(Find({401, 300, 300}), IsEmpty());
}

TEST_F(MergePolicyTest, NothingIsJoinedWhereContextsPart) {
  branches_after_ = 2;
  EXPECT_THAT(Find({10, 10, 10, 10, 10}), ElementsAre(3, 4, 5));
  EXPECT_THAT(Find({10, 10, 10, 10}), IsEmpty());
  branches_after_ = 3;
  EXPECT_THAT(Find({10, 10, 10, 10, 10}), ElementsAre(1, 2, 3));
}

TEST_F(MergePolicyTest, ASegmentOfWhichAChainHasAPartEndsTheRun) {
  std::vector<SegmentLink> chain = Chain({10, 10, 10, 10});
  chain.back().token_count = 4;
  EXPECT_THAT(FindIn(chain), ElementsAre(1, 2, 3));
}

TEST_F(MergePolicyTest, SegmentsThatWantOtherIndexesStayApart) {
  std::vector<SegmentLink> chain = Chain({10, 10, 10, 10});
  auto wanting = std::make_shared<Segment>();
  wanting->id = SegmentId{1};
  wanting->token_count = 10;
  wanting->wanted_indexes = {2};
  chain.front().segment = wanting;
  EXPECT_THAT(FindIn(chain), ElementsAre(2, 3, 4));
}

// A session of n turns: every token is rewritten about log n times, and few segments are left.
TEST_F(MergePolicyTest, ManyTurnsLeaveFewSegmentsAndFewRewrites) {
  constexpr size_t kTurns = 512;
  constexpr uint64_t kTurnTokens = 10;
  options_ = {.segments_min = 4, .tokens_max = kTurns * kTurnTokens};
  std::vector<uint64_t> lengths;
  uint64_t written = 0;
  for (size_t turn = 0; turn < kTurns; ++turn) {
    lengths.push_back(kTurnTokens);
    for (auto ids = Find(lengths); !ids.empty(); ids = Find(lengths)) {
      uint64_t joined = 0;
      for (const uint64_t id : ids) joined += lengths[id - 1];
      const auto begin = lengths.begin() + static_cast<ptrdiff_t>(ids.front()) - 1;
      lengths.erase(begin, begin + static_cast<ptrdiff_t>(ids.size()));
      lengths.insert(lengths.begin() + static_cast<ptrdiff_t>(ids.front()) - 1, joined);
      written += joined;
    }
    EXPECT_LE(lengths.size(), 12U);
  }
  EXPECT_LE(written, 8 * kTurns * kTurnTokens);
}

}  // namespace
}  // namespace alaya
