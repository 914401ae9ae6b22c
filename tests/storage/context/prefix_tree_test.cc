#include "storage/context/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "made_segments.h"

namespace alaya {
namespace {

using Tokens = std::vector<TokenId>;

WallTime At(int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

class PrefixTreeTest : public testing::Test {
 protected:
  void Insert(PrefixTree::ContextPointer context) {
    const auto place = tree_.FindPlace(*context, source_);
    ASSERT_TRUE(place.ok()) << place.status().ToString();
    tree_.Insert(*place, std::move(context));
  }
  void Insert(std::string id, const Tokens& tokens, std::optional<WallTime> expire_time = {}) {
    Insert(MakeContext(std::move(id), {segments_.Make(0, tokens)}, expire_time));
  }

  struct Match {
    std::string id;
    uint64_t matched_tokens = 0;
  };
  // As the catalog does it: a candidate, then its tokens.
  Match FindLongest(const Tokens& tokens, WallTime now) {
    const auto candidate = tree_.FindCandidate(tokens, now);
    if (candidate == nullptr) return {};
    const auto common = CountCommonTokens(candidate->chain, tokens, source_);
    EXPECT_TRUE(common.ok());
    return {candidate->id, common.value_or(0)};
  }

  MadeSegments segments_;
  TokenSource source_ = segments_.Source();
  PrefixTree tree_;
};

TEST_F(PrefixTreeTest, AnEmptyTreeMatchesNothing) {
  EXPECT_EQ(FindLongest({1, 2, 3}, At(0)).matched_tokens, 0U);
}

TEST_F(PrefixTreeTest, TheLongestPrefixWins) {
  Insert("short", {1, 2, 3});
  Insert("long", {1, 2, 3, 4, 5});
  Insert("side", {1, 9});

  EXPECT_EQ(FindLongest({1, 2, 3, 4, 7}, At(0)).id, "long");
  EXPECT_EQ(FindLongest({1, 2, 3, 4, 7}, At(0)).matched_tokens, 4U);
  EXPECT_EQ(FindLongest({1, 9, 9}, At(0)).id, "side");
  EXPECT_EQ(FindLongest({1}, At(0)).matched_tokens, 1U);
  EXPECT_EQ(FindLongest({2, 1}, At(0)).matched_tokens, 0U);
  EXPECT_EQ(FindLongest({}, At(0)).matched_tokens, 0U);
}

// The tree does not see tokens within an edge: whoever found its end by those at the forks must
// not take it for a match.
TEST_F(PrefixTreeTest, WhatPartsWithinAnEdgeMatchesUpToThere) {
  Insert("a", {1, 2, 3, 4, 5, 6});
  Insert("b", {1, 2, 3, 4, 9, 6});

  EXPECT_EQ(FindLongest({1, 7, 3, 4, 9, 6}, At(0)).matched_tokens, 1U);
  EXPECT_EQ(FindLongest({1, 2, 7, 4, 5, 6}, At(0)).matched_tokens, 2U);
  EXPECT_EQ(FindLongest({1, 2, 3, 4, 9, 7}, At(0)).matched_tokens, 5U);
  // And nobody is put below it.
  Insert("c", {1, 7, 3, 4, 9, 6});
  EXPECT_EQ(FindLongest({1, 7, 3, 4, 9, 6}, At(0)).id, "c");
  EXPECT_EQ(FindLongest({1, 2, 3, 4, 9, 6}, At(0)).id, "b");
  EXPECT_EQ(tree_.node_count(), 6U) << "root, three ends, forks after 1 and 1 2 3 4";
}

TEST_F(PrefixTreeTest, AnExpiredContextGivesWayToAShorterMatch) {
  Insert("short", {1, 2});
  Insert("long", {1, 2, 3, 4}, At(100));

  EXPECT_EQ(FindLongest({1, 2, 3, 4}, At(99)).id, "long");
  EXPECT_EQ(FindLongest({1, 2, 3, 4}, At(100)).id, "short");
  EXPECT_EQ(FindLongest({1, 2, 3, 4}, At(100)).matched_tokens, 2U);
}

TEST_F(PrefixTreeTest, ANewSnapshotTakesThePlaceOfTheOld) {
  Insert("a", {1, 2, 3}, At(100));
  const auto pinned = std::make_shared<StoredContext>(*tree_.FindCandidate(Tokens{1}, At(0)));
  pinned->pinned = true;
  pinned->chain = {segments_.Make(0, {1}), segments_.Make(1, {2, 3})};

  tree_.Replace(pinned);

  EXPECT_EQ(tree_.FindCandidate(Tokens{1, 2}, At(100)), pinned);
  tree_.Remove("a");
  EXPECT_EQ(tree_.node_count(), 1U);
}

TEST_F(PrefixTreeTest, AnErrorWhileAPlaceIsLookedForChangesNothing) {
  Insert("a", {1, 2, 3});
  const auto other = MakeContext("b", {segments_.Make(0, {1, 2, 4})});
  segments_.set_failing(true);

  EXPECT_EQ(tree_.FindPlace(*other, source_).status().code(), StatusCode::kUnavailable);

  segments_.set_failing(false);
  EXPECT_EQ(tree_.node_count(), 2U);
  Insert(other);
  EXPECT_EQ(FindLongest({1, 2, 4}, At(0)).id, "b");
}

TEST_F(PrefixTreeTest, ADeepChainIsMatchedAndTrimmed) {
  constexpr size_t kDepth = 8'000;
  const Tokens tokens(kDepth, 7);
  const SegmentLink all = segments_.Make(0, tokens);
  for (size_t depth = 1; depth <= kDepth; ++depth) {
    Insert(MakeContext(std::to_string(depth), {{all.segment, depth}}));
  }

  EXPECT_EQ(FindLongest(tokens, At(0)).matched_tokens, kDepth);
  EXPECT_EQ(tree_.node_count(), kDepth + 1);
  for (size_t depth = kDepth; depth >= 1; depth -= 2) tree_.Remove(std::to_string(depth));
  EXPECT_EQ(FindLongest(tokens, At(0)).matched_tokens, kDepth - 1);
}

TEST_F(PrefixTreeTest, AContextMayEndInsideASegmentOfAnother) {
  const SegmentLink first = segments_.Make(0, {1, 2, 3});
  const SegmentLink second = segments_.Make(3, {4, 5, 6});
  Insert(MakeContext("long", {first, second}));
  Insert(MakeContext("short", {first, {second.segment, 1}}));

  EXPECT_EQ(FindLongest({1, 2, 3, 4, 7}, At(0)).matched_tokens, 4U);
  tree_.Remove("long");
  EXPECT_EQ(FindLongest({1, 2, 3, 4, 5}, At(0)).matched_tokens, 4U);
  tree_.Remove("short");
  EXPECT_EQ(tree_.node_count(), 1U);
}

// All contexts in a list; the longest common prefix by comparing with each.
class BruteForce {
 public:
  struct Entry {
    Tokens tokens;
    std::vector<SegmentLink> chain;
    std::optional<WallTime> expire_time;

    bool expired_at(WallTime now) const { return expire_time && *expire_time <= now; }
  };
  std::map<std::string, Entry> entries;

  static uint64_t Common(const Tokens& a, const Tokens& b) {
    return static_cast<uint64_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  }
  uint64_t Longest(const Tokens& tokens, WallTime now) const {
    uint64_t longest = 0;
    for (const auto& [id, entry] : entries) {
      if (!entry.expired_at(now)) longest = std::max(longest, Common(entry.tokens, tokens));
    }
    return longest;
  }
  const Entry& Any(std::mt19937& random) const {
    auto entry = entries.begin();
    std::advance(entry, static_cast<ptrdiff_t>(random() % entries.size()));
    return entry->second;
  }
};

class RandomTreeTest : public PrefixTreeTest, public testing::WithParamInterface<uint32_t> {
 protected:
  RandomTreeTest() { source_ = segments_.Source(&random_); }

  // Of few kinds, so that prefixes are shared; sometimes another one's with one token changed.
  Tokens RandomTokens() {
    Tokens tokens(1 + random_() % 12);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_() % 3);
    if (random_() % 3 == 0 && !all_.entries.empty()) {
      tokens = all_.Any(random_).tokens;
      if (random_() % 2 == 0) tokens[random_() % tokens.size()] = 9;
    }
    return tokens;
  }
  // Shares some segments of another context where the tokens are the same; the rest in segments
  // of its own that may go on behind its end.
  std::vector<SegmentLink> RandomChain(const Tokens& tokens) {
    std::vector<SegmentLink> chain;
    if (random_() % 2 == 0 && !all_.entries.empty()) {
      const BruteForce::Entry& other = all_.Any(random_);
      chain = ChainPrefix(other.chain, random_() % (BruteForce::Common(other.tokens, tokens) + 1));
    }
    for (uint64_t begin = chain.empty() ? 0 : chain.back().range().end; begin < tokens.size();) {
      const uint64_t count = 1 + random_() % (tokens.size() - begin);
      const auto first = tokens.begin() + static_cast<ptrdiff_t>(begin);
      chain.push_back(segments_.Make(begin, Tokens(first, tokens.end()), count));
      begin += count;
    }
    return chain;
  }

  std::mt19937 random_{GetParam()};
  BruteForce all_;
};

TEST_P(RandomTreeTest, AgreesWithComparingEveryContext) {
  for (int step = 0; step < 2'000; ++step) {
    const uint64_t choice = random_() % 10;
    if (choice < 4) {
      const std::string id = std::to_string(step);
      BruteForce::Entry entry{.tokens = RandomTokens(), .chain = {}, .expire_time = {}};
      entry.chain = RandomChain(entry.tokens);
      if (random_() % 2 == 0) entry.expire_time = At(static_cast<int64_t>(random_() % 100));
      Insert(MakeContext(id, entry.chain, entry.expire_time));
      all_.entries[id] = entry;
    } else if (choice < 7 && !all_.entries.empty()) {
      auto victim = all_.entries.begin();
      std::advance(victim, static_cast<ptrdiff_t>(random_() % all_.entries.size()));
      if (choice == 6) {  // as a merge does
        victim->second.chain = RandomChain(victim->second.tokens);
        tree_.Replace(MakeContext(victim->first, victim->second.chain, victim->second.expire_time));
      } else {
        tree_.Remove(victim->first);
        all_.entries.erase(victim);
      }
    } else {
      const Tokens tokens = RandomTokens();
      const WallTime now = At(static_cast<int64_t>(random_() % 100));
      const Match match = FindLongest(tokens, now);
      ASSERT_EQ(match.matched_tokens, all_.Longest(tokens, now));
      if (match.matched_tokens == 0) continue;
      const BruteForce::Entry& found = all_.entries.at(match.id);
      ASSERT_FALSE(found.expired_at(now));
      ASSERT_EQ(BruteForce::Common(found.tokens, tokens), match.matched_tokens);
    }
    // One node per end and fork, and the root.
    ASSERT_LE(tree_.node_count(), 2 * all_.entries.size() + 1);
  }
  for (const auto& [id, entry] : all_.entries) tree_.Remove(id);
  EXPECT_EQ(tree_.node_count(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTreeTest, testing::Range(1U, 21U));

}  // namespace
}  // namespace alaya
