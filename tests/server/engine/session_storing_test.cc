// Sessions that become stored contexts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

class SessionStoringTest : public EngineTest {
 protected:
  SessionStoringTest() : sequence_(GroupedModel(), 900, /*seed=*/31) {}

  void ExpectHolds(const std::string& session, uint64_t token_count) {
    EngineTest::ExpectHolds(sequence_, session, token_count);
  }
  StatusOr<ImportResult> Store(const std::string& session, std::vector<TokenId> tokens,
                               std::optional<std::string> id = {}) {
    return engine().StoreSession({.tenant = kTenant,
                                  .session_id = session,
                                  .tokens = std::move(tokens),
                                  .context_id = std::move(id),
                                  .labels = {},
                                  .ttl = {}});
  }

  const TestSequence sequence_;
};

TEST_F(SessionStoringTest, StoredSessionsAreMatchedByOthers) {
  Register(sequence_.model());
  Import(sequence_, 300);
  const std::string session = CreateSession(sequence_, 300).session_id;
  AppendAllLayers(sequence_, session, {300, 620});

  const auto stored = Store(session, sequence_.tokens(620), "stored");

  ASSERT_TRUE(stored.ok()) << Message(stored.status());
  EXPECT_EQ(stored->context_id, "stored");
  EXPECT_EQ(stored->reused_tokens, 300U);
  EXPECT_GT(stored->stored_bytes, 0U);
  const SessionInfo info = CreateSession(sequence_, 700);
  EXPECT_EQ(info.reused_tokens, 620U);
  EXPECT_EQ(info.context_id, "stored");
  ExpectHolds(info.session_id, 620);
}

TEST_F(SessionStoringTest, AStoredSessionGoesOnFromItsContext) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 300});

  ASSERT_TRUE(Store(session, sequence_.tokens(300), "stored").ok());

  EXPECT_EQ(Info(session).context_id, "stored");
  EXPECT_EQ(Info(session).reused_tokens, 300U);
  EXPECT_EQ(engine().stats().tail_bytes, 0U);
  AppendAllLayers(sequence_, session, {300, 350});
  ExpectHolds(session, 350);
  const auto again = Store(session, sequence_.tokens(350));
  ASSERT_TRUE(again.ok()) << Message(again.status());
  EXPECT_EQ(again->reused_tokens, 300U);
  ExpectHolds(session, 350);
}

TEST_F(SessionStoringTest, SessionsOnACutPrefixAreStored) {
  Register(sequence_.model());
  // Another sequence with the same first 130 tokens, keys and values.
  const TestSequence other(GroupedModel(), 300, /*seed=*/77);
  Import(sequence_, 300, "parent");
  const std::string session = CreateSession(sequence_, 300, 130).session_id;
  for (const LayerIndex layer : {kFirst, kSecond}) {
    ASSERT_TRUE(Attend(AppendItem(other, session, layer, {130, 200})).status.ok());
  }
  std::vector<TokenId> tokens = sequence_.tokens(130);
  const std::vector<TokenId> rest = other.tokens(200);
  tokens.insert(tokens.end(), rest.begin() + 130, rest.end());
  AttendItem item = QueryItem(sequence_, session, kSecond, {0, 1});
  item.options.target = FullTarget();
  const AttendResult before = Attend(item);

  const auto stored = Store(session, tokens);

  ASSERT_TRUE(stored.ok()) << Message(stored.status());
  EXPECT_EQ(stored->reused_tokens, 130U);
  const auto copy = engine().CreateSession({.tenant = kTenant,
                                            .model = "grouped",
                                            .tokens = tokens,
                                            .context_id = {},
                                            .reuse_limit = {}});
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(copy->reused_tokens, 200U);
  item.session_id = copy->session_id;
  const AttendResult after = Attend(item);
  ASSERT_TRUE(after.status.ok());
  ASSERT_EQ(after.log_sum_exp.size(), before.log_sum_exp.size());
  for (size_t i = 0; i < before.log_sum_exp.size(); ++i) {
    EXPECT_NEAR(after.log_sum_exp[i], before.log_sum_exp[i], 1e-4);
  }
}

TEST_F(SessionStoringTest, StoringSharesWhatOthersStoredMeanwhile) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 300});
  Import(sequence_, 250);

  const auto stored = Store(session, sequence_.tokens(300));

  ASSERT_TRUE(stored.ok()) << Message(stored.status());
  EXPECT_EQ(stored->reused_tokens, 250U);
  ExpectHolds(session, 300);
}

TEST_F(SessionStoringTest, StoringOnADeletedContextKeepsItsTokens) {
  Register(sequence_.model());
  Import(sequence_, 250, "parent");
  const std::string session = CreateSession(sequence_, 250).session_id;
  AppendAllLayers(sequence_, session, {250, 300});
  ASSERT_TRUE(engine().DeleteContext(kTenant, "parent").ok());

  const auto stored = Store(session, sequence_.tokens(300));

  ASSERT_TRUE(stored.ok()) << Message(stored.status());
  ExpectHolds(session, 300);
  OpenEngine();
  ExpectHolds(CreateSession(sequence_, 300).session_id, 300);
}

TEST_F(SessionStoringTest, TokensToStoreMustBeTheSessions) {
  Register(sequence_.model());
  Import(sequence_, 100, "parent");
  const std::string session = CreateSession(sequence_, 100).session_id;
  AppendAllLayers(sequence_, session, {100, 120});
  const auto message = [&](const std::vector<TokenId>& tokens, StatusCode code) {
    const Status status = Store(session, tokens).status();
    EXPECT_EQ(status.code(), code);
    return std::string(Message(status));
  };

  EXPECT_THAT(message(sequence_.tokens(119), StatusCode::kInvalidArgument),
              HasSubstr("119 tokens are named, the session holds 120"));
  EXPECT_THAT(message(sequence_.tokens(121), StatusCode::kInvalidArgument),
              HasSubstr("121 tokens are named, the session holds 120"));
  EXPECT_THAT(message({}, StatusCode::kInvalidArgument), HasSubstr("tokens is empty"));
  std::vector<TokenId> changed = sequence_.tokens(120);
  changed[42] = 60'000;
  EXPECT_THAT(message(changed, StatusCode::kInvalidArgument),
              HasSubstr("token 42 is 60000, the session's reused prefix has"));
  EXPECT_EQ(Store(session, sequence_.tokens(120), "parent").status().code(),
            StatusCode::kAlreadyExists);
  ASSERT_TRUE(Attend(AppendItem(sequence_, session, kFirst, {120, 121})).status.ok());
  EXPECT_THAT(message(sequence_.tokens(121), StatusCode::kFailedPrecondition),
              HasSubstr("layer 1 holds 120 tokens, layer 0 holds 121"));
  EXPECT_EQ(engine().stats().store.contexts, 1U);
  EXPECT_EQ(Info(session).tail_tokens, 21U);
}

}  // namespace
}  // namespace alaya
