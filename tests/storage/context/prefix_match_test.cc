// Prefix look-ups in a store that grows, shrinks, joins segments and restarts, judged by
// comparing with every context.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "store_fixture.h"

namespace alaya {
namespace {

using Tokens = std::vector<TokenId>;

uint64_t Common(const Tokens& a, const Tokens& b) {
  return static_cast<uint64_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// One layer of one head: 32 bytes a token.
class PrefixMatchTest : public StoreTest {
 protected:
  void SetUp() override {
    model_ = {.name = "test",
              .num_layers = 1,
              .num_query_heads = 1,
              .num_kv_heads = 1,
              .head_dim = 8,
              .dtype = DType::kBF16};
    StoreTest::SetUp();
  }
  PrefixMatch Match(std::string_view tenant, const Tokens& tokens, int64_t now_ms = 0) const {
    const auto match =
        store_->MatchPrefix(tenant, store_->FindModel("test").value()->id, tokens, TimeAt(now_ms));
    EXPECT_TRUE(match.ok()) << match.status().ToString();
    return match.value_or(PrefixMatch());
  }
  // As an import does it: shares what matches, at most `shared_max` tokens.
  Status Store(const std::string& tenant, const std::string& id, const Tokens& tokens,
               uint64_t shared_max, std::optional<WallTime> expire_time = {}) {
    const PrefixMatch match = Match(tenant, tokens);
    ContextSpec spec{.id = id, .tenant = tenant, .expire_time = expire_time};
    const uint64_t shared = std::min(match.matched_tokens, shared_max);
    if (shared > 0) spec.prefix = ChainPrefix(match.context->chain, shared);
    spec.tokens.assign(tokens.begin() + static_cast<ptrdiff_t>(shared), tokens.end());
    return Import(*store_, spec).status();
  }
};

struct KnownContext {
  std::string tenant;
  Tokens tokens;
  std::optional<WallTime> expire_time;
};

class RandomStoreTest : public PrefixMatchTest, public testing::WithParamInterface<uint32_t> {
 protected:
  std::string RandomTenant() { return random_() % 3 == 0 ? "other" : "default"; }
  // Of few kinds, in runs, so that prefixes are shared and part anywhere; often another one's
  // with an end of its own.
  Tokens RandomTokens() {
    Tokens tokens;
    if (!known_.empty() && random_() % 4 != 0) {
      auto known = known_.begin();
      std::advance(known, static_cast<ptrdiff_t>(random_() % known_.size()));
      tokens = known->second.tokens;
      tokens.resize(1 + random_() % tokens.size());
    }
    for (uint64_t runs = random_() % 3 + (tokens.empty() ? 1 : 0); runs > 0; --runs) {
      tokens.insert(tokens.end(), 1 + random_() % 20, static_cast<TokenId>(random_() % 3));
    }
    return tokens;
  }
  void StoreOne(const std::string& id) {
    KnownContext known{.tenant = RandomTenant(), .tokens = RandomTokens(), .expire_time = {}};
    if (random_() % 4 == 0) known.expire_time = TimeAt(static_cast<int64_t>(random_() % 100));
    // A second segment with the same tokens, now and then: of two imports at the same time.
    const uint64_t shared_max = random_() % 4 == 0 ? random_() % 30 : known.tokens.size();
    ASSERT_OK(Store(known.tenant, id, known.tokens, shared_max, known.expire_time));
    known_[id] = known;
  }
  void DeleteOne() {
    auto victim = known_.begin();
    std::advance(victim, static_cast<ptrdiff_t>(random_() % known_.size()));
    ASSERT_OK(store_->DeleteContext(victim->second.tenant, victim->first).status());
    known_.erase(victim);
  }
  void Check(const std::string& tenant, const Tokens& tokens, int64_t now_ms) const {
    uint64_t longest = 0;
    for (const auto& [id, known] : known_) {
      const bool expired = known.expire_time && *known.expire_time <= TimeAt(now_ms);
      if (known.tenant == tenant && !expired) {
        longest = std::max(longest, Common(known.tokens, tokens));
      }
    }
    const PrefixMatch match = Match(tenant, tokens, now_ms);
    ASSERT_EQ(match.matched_tokens, longest);
    if (longest == 0) return;
    const KnownContext& found = known_.at(match.context->id);
    ASSERT_EQ(found.tenant, tenant);
    ASSERT_GE(Common(found.tokens, tokens), longest);
    ASSERT_EQ(ChainTokens(*store_, match.context->chain), found.tokens);
  }

  std::mt19937 random_{GetParam()};
  std::map<std::string, KnownContext> known_;
};

TEST_P(RandomStoreTest, AgreesWithComparingEveryContext) {
  for (int step = 0; step < 100; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const uint64_t choice = random_() % 16;
    if (choice < 7) {
      StoreOne(std::to_string(step));
    } else if (choice < 10 && !known_.empty()) {
      DeleteOne();
    } else if (choice < 13) {
      ASSERT_OK(store_->MergeSegments([] { return false; }).status());
    } else if (choice == 13) {
      Reopen();
    }
    if (HasFatalFailure()) return;
    for (int i = 0; i < 5; ++i) {
      Check(RandomTenant(), RandomTokens(), static_cast<int64_t>(random_() % 100));
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomStoreTest, testing::Range(1U, 5U));

TEST_F(PrefixMatchTest, LongContextsPartAnywhere) {
  constexpr size_t kLength = 140'000;  // three records of tokens
  const Tokens tokens = SomeTokens(kLength, 1);
  ASSERT_OK(Store("default", "a", tokens, 0));
  // Beside pages and records of tokens, and within them.
  const std::vector<size_t> partings = {1,      4'095,   4'096,   4'097,      65'535,
                                        65'536, 100'000, 131'072, kLength - 1};
  for (const size_t parting : partings) {
    Tokens branch = tokens;
    branch.resize(parting);
    branch.insert(branch.end(), 5'000, 60'000);
    ASSERT_OK(Store("default", std::to_string(parting), branch, kLength));
  }
  for (int round = 0; round < 2; ++round) {
    for (const size_t parting : partings) {
      Tokens branch(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(parting));
      branch.push_back(60'001);
      EXPECT_EQ(Match("default", branch).matched_tokens, parting);
      branch.back() = 60'000;
      EXPECT_EQ(Match("default", branch).context->id, std::to_string(parting));
      EXPECT_EQ(Match("default", branch).matched_tokens, parting + 1);
    }
    EXPECT_EQ(Match("default", tokens).context->id, "a");
    EXPECT_EQ(Match("default", tokens).matched_tokens, kLength);
    Reopen();
  }
}

}  // namespace
}  // namespace alaya
