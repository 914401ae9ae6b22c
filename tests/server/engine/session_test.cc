// The life of sessions: opening, forking, truncating, storing, closing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

class SessionTest : public EngineTest {
 protected:
  SessionTest() : sequence_(GroupedModel(), 900, /*seed=*/31) {}

  void ExpectHolds(const std::string& session, uint64_t token_count) {
    EngineTest::ExpectHolds(sequence_, session, token_count);
  }

  const TestSequence sequence_;
};

TEST_F(SessionTest, OpenOnTheLongestStoredPrefix) {
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

TEST_F(SessionTest, OpenOnANamedContext) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");

  const auto info = engine().CreateSession(
      {.tenant = kTenant, .model = "grouped", .tokens = {}, .context_id = "c", .reuse_limit = 120});

  ASSERT_TRUE(info.ok()) << Message(info.status());
  EXPECT_EQ(info->reused_tokens, 120U);
  ExpectHolds(info->session_id, 120);
}

TEST_F(SessionTest, BadRequestsToOpenAreRefused) {
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

TEST_F(SessionTest, TheirNumberIsLimited) {
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

TEST_F(SessionTest, AreListedByIdAndOnlyToTheirTenant) {
  Register(sequence_.model());
  std::vector<std::string> ids;
  ids.reserve(5);
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

TEST_F(SessionTest, AClosedSessionIsGoneAndItsMemoryFree) {
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

TEST_F(SessionTest, ForksGoSeparateWays) {
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

TEST_F(SessionTest, TruncationCutsTheTailAndThePrefix) {
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

TEST_F(SessionTest, TruncationCannotAddTokens) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 10});

  const Status status = engine().TruncateSession(kTenant, session, 11);

  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("token_count 11: the session holds 10"));
  ExpectHolds(session, 10);
}

TEST_F(SessionTest, TruncationLeavesLaggingLayersAlone) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  AppendAllLayers(sequence_, session, {0, 10});
  ASSERT_TRUE(Attend(AppendItem(sequence_, session, kFirst, {10, 20})).status.ok());

  ASSERT_TRUE(engine().TruncateSession(kTenant, session, 15).ok());

  ASSERT_TRUE(Attend(AppendItem(sequence_, session, kSecond, {10, 15})).status.ok());
  ExpectHolds(session, 15);
}

class LongTailTest : public EngineTest {
 protected:
  LongTailTest() { options_.indexes.tail_min_tokens = 300; }
};

TEST_F(LongTailTest, ALongTailIsSearchedAndAnswersTheDefinition) {
  const TestSequence sequence(GroupedModel(), 900, /*seed=*/21);
  Register(sequence.model());
  const std::string session = CreateSession(sequence, 0).session_id;
  AppendAllLayers(sequence, session, {0, 800});
  for (const Target& target : {Target(DiprTarget{0.05}), Target(TopKTarget{20})}) {
    AttendItem item = QueryItem(sequence, session, LayerIndex{0}, {799, 800});
    item.options.target = target;
    item.options.window = {8, 16};
    item.options.tail_estimate = false;

    const AttendResult result = Attend(item);

    SCOPED_TRACE(target.index());
    sequence.ExpectAttention(result, {.layer = LayerIndex{0},
                                      .first_query = 799,
                                      .visible = EqualVisible({0, 800}, 1),
                                      .options = item.options});
    EXPECT_LT(result.stats.tokens_attended, 4 * 800U);
  }
}

// An index knows the mass of what is left out by its codes: the share is kept to 2 %.
TEST_F(LongTailTest, AttendedTokensHoldTheShareOfTheMass) {
  const TestSequence sequence(GroupedModel(), 900, /*seed=*/21);
  Register(sequence.model());
  const std::string session = CreateSession(sequence, 0).session_id;
  AppendAllLayers(sequence, session, {0, 800});
  AttendItem item = QueryItem(sequence, session, LayerIndex{0}, {799, 800});
  item.options.window = {0, 1};
  item.options.tail_estimate = false;
  item.options.target = FullTarget();
  const AttendResult full = Attend(item);

  for (const double fraction : {0.5, 0.8, 0.95}) {
    item.options.target = MassTarget{fraction};
    const AttendResult result = Attend(item);

    SCOPED_TRACE(fraction);
    ASSERT_TRUE(result.status.ok()) << result.status;
    for (size_t row = 0; row < result.log_sum_exp.size(); ++row) {
      const double share = std::exp(double{result.log_sum_exp[row]} - full.log_sum_exp[row]);
      EXPECT_GE(share, fraction - 0.02) << "row " << row;
      EXPECT_LE(share, 1 + 1e-4) << "row " << row;
    }
    EXPECT_LT(result.stats.tokens_attended, full.stats.tokens_attended);
  }
}

TEST_F(LongTailTest, TruncatingAndForkingALongTailKeepsItsAnswers) {
  const TestSequence sequence(GroupedModel(), 900, /*seed=*/21);
  Register(sequence.model());
  const std::string session = CreateSession(sequence, 0).session_id;
  AppendAllLayers(sequence, session, {0, 800});
  ASSERT_TRUE(engine().TruncateSession(kTenant, session, 500).ok());
  const std::string fork = *engine().ForkSession(kTenant, session);
  AppendAllLayers(sequence, session, {500, 600});
  AppendAllLayers(sequence, fork, {500, 700});

  for (const auto& [id, token_count] : {std::pair(session, 600), std::pair(fork, 700)}) {
    const auto count = static_cast<uint64_t>(token_count);
    AttendItem item = QueryItem(sequence, id, LayerIndex{1}, {count - 1, count});
    item.options.target = DiprTarget{0.05};
    item.options.window = {8, 16};
    item.options.tail_estimate = false;
    sequence.ExpectAttention(Attend(item), {.layer = LayerIndex{1},
                                            .first_query = count - 1,
                                            .visible = EqualVisible({0, count}, 1),
                                            .options = item.options});
  }
}

}  // namespace
}  // namespace alaya
