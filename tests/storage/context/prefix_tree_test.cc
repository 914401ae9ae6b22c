#include "storage/context/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace alaya {
namespace {

using Tokens = std::vector<TokenId>;

// In one list.
std::vector<TokenSlice> Whole(const Tokens& tokens) { return {{tokens, 0, tokens.size()}}; }

// In up to three lists, cut anywhere.
std::vector<TokenSlice> InPieces(const Tokens& tokens, std::mt19937& random) {
  std::vector<TokenSlice> slices;
  for (size_t begin = 0; begin < tokens.size();) {
    const size_t left = tokens.size() - begin;
    const size_t count = slices.size() == 2 ? left : 1 + random() % left;
    const auto first = tokens.begin() + static_cast<ptrdiff_t>(begin);
    // The list may go on behind the slice.
    slices.push_back({Tokens(first, tokens.end()), 0, count});
    begin += count;
  }
  return slices;
}

WallTime At(int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

TEST(PrefixTreeTest, AnEmptyTreeMatchesNothing) {
  const PrefixTree tree;
  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3}, At(0)).matched_tokens, 0U);
}

TEST(PrefixTreeTest, TheLongestPrefixWins) {
  PrefixTree tree;
  tree.Insert(Whole({1, 2, 3}), "short", PrefixTree::kNever);
  tree.Insert(Whole({1, 2, 3, 4, 5}), "long", PrefixTree::kNever);
  tree.Insert(Whole({1, 9}), "side", PrefixTree::kNever);

  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4, 7}, At(0)).id, "long");
  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4, 7}, At(0)).matched_tokens, 4U);
  EXPECT_EQ(tree.FindLongest(Tokens{1, 9, 9}, At(0)).id, "side");
  EXPECT_EQ(tree.FindLongest(Tokens{1}, At(0)).matched_tokens, 1U);
  EXPECT_EQ(tree.FindLongest(Tokens{2, 1}, At(0)).matched_tokens, 0U);
  EXPECT_EQ(tree.FindLongest(Tokens{}, At(0)).matched_tokens, 0U);
}

TEST(PrefixTreeTest, AnExpiredContextGivesWayToAShorterMatch) {
  PrefixTree tree;
  tree.Insert(Whole({1, 2}), "short", PrefixTree::kNever);
  tree.Insert(Whole({1, 2, 3, 4}), "long", At(100));

  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4}, At(99)).id, "long");
  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4}, At(100)).id, "short");
  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4}, At(100)).matched_tokens, 2U);
}

TEST(PrefixTreeTest, ADeepChainIsMatchedAndTrimmed) {
  PrefixTree tree;
  constexpr size_t kDepth = 8'000;
  const Tokens tokens(kDepth, 7);
  const TokenSlice all{tokens, 0, kDepth};
  const auto first = [&](size_t depth) { return std::vector<TokenSlice>{all.First(depth)}; };
  for (size_t depth = 1; depth <= kDepth; ++depth) {
    tree.Insert(first(depth), std::to_string(depth), PrefixTree::kNever);
  }

  EXPECT_EQ(tree.FindLongest(tokens, At(0)).matched_tokens, kDepth);
  EXPECT_EQ(tree.node_count(), kDepth + 1);
  for (size_t depth = kDepth; depth >= 1; depth -= 2) {
    tree.Remove(first(depth), std::to_string(depth));
  }
  EXPECT_EQ(tree.FindLongest(tokens, At(0)).matched_tokens, kDepth - 1);
}

TEST(PrefixTreeTest, AContextMayEndInsideASegmentOfAnother) {
  PrefixTree tree;
  const TokenList first = Tokens{1, 2, 3};
  const TokenList second = Tokens{4, 5, 6};
  tree.Insert(std::vector<TokenSlice>{{first, 0, 3}, {second, 0, 3}}, "long", PrefixTree::kNever);
  tree.Insert(std::vector<TokenSlice>{{first, 0, 3}, {second, 0, 1}}, "short", PrefixTree::kNever);

  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4, 7}, At(0)).matched_tokens, 4U);
  tree.Remove(Whole({1, 2, 3, 4, 5, 6}), "long");
  EXPECT_EQ(tree.FindLongest(Tokens{1, 2, 3, 4, 5}, At(0)).matched_tokens, 4U);
  tree.Remove(Whole({1, 2, 3, 4}), "short");
  EXPECT_EQ(tree.node_count(), 1U);
}

// All contexts in a list; the longest common prefix by comparing with each.
class BruteForce {
 public:
  struct Entry {
    Tokens tokens;
    WallTime expire_time;
  };
  std::map<std::string, Entry> entries;

  static uint64_t Common(const Tokens& a, const Tokens& b) {
    uint64_t count = 0;
    while (count < a.size() && count < b.size() && a[count] == b[count]) ++count;
    return count;
  }
  uint64_t Longest(const Tokens& tokens, WallTime now) const {
    uint64_t longest = 0;
    for (const auto& [id, entry] : entries) {
      if (entry.expire_time > now) longest = std::max(longest, Common(entry.tokens, tokens));
    }
    return longest;
  }
};

TEST(PrefixTreeTest, AgreesWithComparingEveryContext) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    const auto random_tokens = [&] {
      Tokens tokens(1 + random() % 12);
      for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 3);
      return tokens;
    };
    PrefixTree tree;
    BruteForce all;
    for (int step = 0; step < 2'000; ++step) {
      const uint64_t choice = random() % 10;
      if (choice < 4) {
        const std::string id = std::to_string(step);
        const BruteForce::Entry entry{
            random_tokens(),
            random() % 2 == 0 ? PrefixTree::kNever : At(static_cast<int64_t>(random() % 100))};
        tree.Insert(InPieces(entry.tokens, random), id, entry.expire_time);
        all.entries[id] = entry;
      } else if (choice < 7 && !all.entries.empty()) {
        auto victim = all.entries.begin();
        std::advance(victim, static_cast<ptrdiff_t>(random() % all.entries.size()));
        tree.Remove(InPieces(victim->second.tokens, random), victim->first);
        all.entries.erase(victim);
      } else {
        const Tokens tokens = random_tokens();
        const WallTime now = At(static_cast<int64_t>(random() % 100));
        const PrefixTree::Match match = tree.FindLongest(tokens, now);
        ASSERT_EQ(match.matched_tokens, all.Longest(tokens, now)) << "seed " << seed;
        if (match.matched_tokens == 0) continue;
        const BruteForce::Entry& found = all.entries.at(match.id);
        ASSERT_GT(found.expire_time, now);
        ASSERT_GE(BruteForce::Common(found.tokens, tokens), match.matched_tokens);
      }
    }
    for (const auto& [id, entry] : all.entries) tree.Remove(InPieces(entry.tokens, random), id);
    EXPECT_EQ(tree.node_count(), 1U);
  }
}

}  // namespace
}  // namespace alaya
