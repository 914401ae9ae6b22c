// The life of sessions: opening, forking, truncating, storing, closing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

constexpr LayerIndex kFirst{0};
constexpr LayerIndex kSecond{1};

class SessionsTest : public EngineTest {
 protected:
  SessionsTest() : sequence_(GroupedModel(), 900, /*seed=*/31) {}

  // The session must hold the sequence's first `token_count` tokens in every layer.
  void ExpectHolds(const std::string& session, uint64_t token_count) {
    ExpectHolds(sequence_, session, token_count);
  }
  void ExpectHolds(const TestSequence& sequence, const std::string& session, uint64_t token_count) {
    for (const LayerIndex layer : {kFirst, kSecond}) {
      AttendItem item = QueryItem(sequence, session, layer, {3, 5});
      item.options.target = FullTarget();
      sequence.ExpectAttention(Attend(item), {.layer = layer,
                                              .first_query = 3,
                                              .visible = EqualVisible({0, token_count}, 2),
                                              .options = item.options});
    }
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

TEST_F(SessionsTest, OpenOnTheLongestStoredPrefix) {
  Register(sequence_.model());
  Import(sequence_, 100, "short");
  Import(sequence_, 300, "long");

  const SessionInfo info = CreateSession(sequence_, 400);

  EXPECT_EQ(info.session_id.size(), 32U);
  EXPECT_EQ(info.model, "grouped");
  EXPECT_EQ(info.context_id, "long");
  EXPECT_EQ(info.reused_tokens, 300U);
  EXPECT_EQ(info.tail_tokens, 0U);
  EXPECT_EQ(info.create_time, clock_.now());
  ExpectHolds(info.session_id, 300);
}

TEST_F(SessionsTest, OpenOnANamedContext) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");

  const auto info = engine().CreateSession(
      {.tenant = kTenant, .model = "grouped", .tokens = {}, .context_id = "c", .reuse_limit = 120});

  ASSERT_TRUE(info.ok()) << Message(info.status());
  EXPECT_EQ(info->reused_tokens, 120U);
  ExpectHolds(info->session_id, 120);
}

TEST_F(SessionsTest, BadRequestsToOpenAreRefused) {
  Register(sequence_.model());
  Model other = GroupedModel();
  other.name = "other";
  Register(other);
  Import(sequence_, 50, "c");
  const auto code = [this](const CreateSessionParams& params) {
    return engine().CreateSession(params).status().code();
  };

  EXPECT_EQ(code({.tenant = kTenant,
                  .model = "nobody",
                  .tokens = {},
                  .context_id = {},
                  .reuse_limit = {}}),
            StatusCode::kNotFound);
  EXPECT_EQ(code({.tenant = kTenant,
                  .model = "grouped",
                  .tokens = {},
                  .context_id = "d",
                  .reuse_limit = {}}),
            StatusCode::kNotFound);
  EXPECT_EQ(
      code({.tenant = "x", .model = "grouped", .tokens = {}, .context_id = "c", .reuse_limit = {}}),
      StatusCode::kNotFound);
  EXPECT_EQ(code({.tenant = kTenant,
                  .model = "other",
                  .tokens = {},
                  .context_id = "c",
                  .reuse_limit = {}}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.tenant = kTenant,
                  .model = "grouped",
                  .tokens = {1},
                  .context_id = "c",
                  .reuse_limit = {}}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(engine().stats().sessions, 0U);
}

TEST_F(SessionsTest, TheirNumberIsLimited) {
  options_.limits.max_sessions = 2;
  Register(sequence_.model());
  const std::string first = CreateSession(sequence_, 0).session_id;
  CreateSession(sequence_, 0);

  const auto third = engine().CreateSession(
      {.tenant = kTenant, .model = "grouped", .tokens = {}, .context_id = {}, .reuse_limit = {}});

  EXPECT_EQ(third.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(engine().ForkSession(kTenant, first).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(engine().stats().sessions, 2U);
}

TEST_F(SessionsTest, AreListedByIdAndOnlyToTheirTenant) {
  Register(sequence_.model());
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(CreateSession(sequence_, 0).session_id);
  std::ranges::sort(ids);

  const auto page = engine().ListSessions(kTenant, ids[1], 2);

  ASSERT_EQ(page.size(), 2U);
  EXPECT_EQ(page[0].session_id, ids[2]);
  EXPECT_EQ(page[1].session_id, ids[3]);
  EXPECT_TRUE(engine().ListSessions("other", "", 10).empty());
  EXPECT_EQ(engine().GetSession("other", ids[0]).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(engine().CloseSession("other", ids[0]).code(), StatusCode::kNotFound);
  EXPECT_EQ(engine().ForkSession("other", ids[0]).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(engine().TruncateSession("other", ids[0], 0).code(), StatusCode::kNotFound);
}

TEST_F(SessionsTest, AClosedSessionIsGoneAndItsMemoryFree) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 200});
  EXPECT_EQ(Info(session).tail_bytes, engine().stats().tail_bytes);

  ASSERT_TRUE(engine().CloseSession(kTenant, session).ok());

  EXPECT_EQ(engine().CloseSession(kTenant, session).code(), StatusCode::kNotFound);
  EXPECT_EQ(Attend(QueryItem(sequence_, session, kFirst, {0, 1})).status.code(),
            StatusCode::kNotFound);
  engine().Drain();  // until the strand has let go
  EXPECT_EQ(engine().stats().sessions, 0U);
}

TEST_F(SessionsTest, ForksGoSeparateWays) {
  Register(sequence_.model());
  Import(sequence_, 300);
  const std::string session = CreateSession(sequence_, 300).session_id;
  AppendAllLayers(sequence_, session, {300, 450});
  const uint64_t tail_bytes = engine().stats().tail_bytes;

  const auto fork = engine().ForkSession(kTenant, session);

  ASSERT_TRUE(fork.ok()) << Message(fork.status());
  EXPECT_EQ(engine().stats().tail_bytes, tail_bytes) << "a fork shares memory";
  AppendAllLayers(sequence_, *fork, {450, 500});
  ExpectHolds(*fork, 500);
  ExpectHolds(session, 450);
  AppendAllLayers(sequence_, session, {450, 460});
  ASSERT_TRUE(engine().CloseSession(kTenant, session).ok());
  ExpectHolds(*fork, 500);
  EXPECT_EQ(Info(*fork).reused_tokens, 300U);
}

TEST_F(SessionsTest, TruncationCutsTheTailAndThePrefix) {
  Register(sequence_.model());
  Import(sequence_, 200);
  Import(sequence_, 400);
  const std::string session = CreateSession(sequence_, 400).session_id;
  AppendAllLayers(sequence_, session, {400, 700});

  for (const uint64_t count :
       {uint64_t{700}, uint64_t{600}, uint64_t{400}, uint64_t{333}, uint64_t{200}, uint64_t{199}}) {
    ASSERT_TRUE(engine().TruncateSession(kTenant, session, count).ok());
    ExpectHolds(session, count);
    const SessionInfo info = Info(session);
    EXPECT_EQ(info.reused_tokens + info.tail_tokens, count);
    EXPECT_EQ(info.reused_tokens, std::min<uint64_t>(count, 400));
  }
  AppendAllLayers(sequence_, session, {199, 260});
  ExpectHolds(session, 260);
  ASSERT_TRUE(engine().TruncateSession(kTenant, session, 0).ok());
  EXPECT_EQ(Info(session).context_id, "");
  AppendAllLayers(sequence_, session, {0, 10});
  ExpectHolds(session, 10);
}

TEST_F(SessionsTest, TruncationCannotAddTokens) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 10});

  const Status status = engine().TruncateSession(kTenant, session, 11);

  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("token_count 11: the session holds 10"));
  ExpectHolds(session, 10);
}

TEST_F(SessionsTest, TruncationLeavesLaggingLayersAlone) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 10});
  ASSERT_TRUE(Attend(AppendItem(sequence_, session, kFirst, {10, 20})).status.ok());

  ASSERT_TRUE(engine().TruncateSession(kTenant, session, 15).ok());

  ASSERT_TRUE(Attend(AppendItem(sequence_, session, kSecond, {10, 15})).status.ok());
  ExpectHolds(session, 15);
}

TEST_F(SessionsTest, StoredSessionsAreMatchedByOthers) {
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

TEST_F(SessionsTest, AStoredSessionGoesOnFromItsContext) {
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

TEST_F(SessionsTest, SessionsOnACutPrefixAreStored) {
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

TEST_F(SessionsTest, StoringSharesWhatOthersStoredMeanwhile) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 300});
  Import(sequence_, 250);

  const auto stored = Store(session, sequence_.tokens(300));

  ASSERT_TRUE(stored.ok()) << Message(stored.status());
  EXPECT_EQ(stored->reused_tokens, 250U);
  ExpectHolds(session, 300);
}

TEST_F(SessionsTest, StoringOnADeletedContextKeepsItsTokens) {
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

TEST_F(SessionsTest, TokensToStoreMustBeTheSessions) {
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
