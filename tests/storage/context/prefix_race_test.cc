// Prefix look-ups beside imports, deletions and merges.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "store_fixture.h"

namespace alaya {
namespace {

using Tokens = std::vector<TokenId>;

class PrefixRaceTest : public StoreTest {
 protected:
  PrefixMatch Match(const Tokens& tokens) const {
    const auto match =
        store_->MatchPrefix("default", store_->FindModel("test").value()->id, tokens, TimeAt(0));
    EXPECT_TRUE(match.ok()) << match.status().ToString();
    return match.value_or(PrefixMatch());
  }
  // Shares what matches.
  Status Store(const std::string& id, const Tokens& tokens) {
    const PrefixMatch match = Match(tokens);
    ContextSpec spec{.id = id};
    if (match.context) spec.prefix = ChainPrefix(match.context->chain, match.matched_tokens);
    spec.tokens.assign(tokens.begin() + static_cast<ptrdiff_t>(match.matched_tokens), tokens.end());
    return Import(*store_, spec).status();
  }
};

// Readers find what is stored all the time, whatever comes, goes and is joined beside it.
TEST_F(PrefixRaceTest, LookupsBesideChangesFindWhatIsThere) {
  const Tokens kept = SomeTokens(1'000, 1);
  ASSERT_OK(Store("kept", kept));
  std::vector<std::jthread> readers;  // stop and end with the test
  for (uint32_t reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&, reader](const std::stop_token& stop) {
      std::mt19937 random(reader);
      while (!stop.stop_requested()) {
        Tokens tokens = kept;
        tokens.resize(1 + random() % tokens.size());
        const uint64_t shared = tokens.size();
        tokens.insert(tokens.end(), 1 + random() % 50, static_cast<TokenId>(random() % 4));
        const PrefixMatch match = Match(tokens);
        EXPECT_GE(match.matched_tokens, shared);
        if (match.context == nullptr) return;
        const Tokens stored = ChainTokens(*store_, match.context->chain);
        EXPECT_EQ(std::ranges::mismatch(stored, tokens).in1 - stored.begin(),
                  static_cast<ptrdiff_t>(match.matched_tokens));
      }
    });
  }
  std::mt19937 random(99);
  for (int round = 0; round < 30; ++round) {
    const std::string id = std::to_string(round);
    Tokens tokens = kept;
    tokens.resize(1 + random() % tokens.size());
    for (int turn = 0; turn < 3; ++turn) {
      tokens.insert(tokens.end(), 1 + random() % 50, static_cast<TokenId>(random() % 4));
      ASSERT_OK(Store(id + "." + std::to_string(turn), tokens));
    }
    ASSERT_OK(store_->MergeSegments([] { return false; }).status());
    if (round % 3 == 0) continue;
    for (int turn = 0; turn < 3; ++turn) {
      ASSERT_OK(store_->DeleteContext("default", id + "." + std::to_string(turn)).status());
    }
  }
}

}  // namespace
}  // namespace alaya
