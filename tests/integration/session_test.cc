// The life of a session: opened on a prefix, grown, forked, truncated, stored, closed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using testing::UnorderedElementsAreArray;

class SessionTest : public ServiceTest {
 protected:
  static constexpr size_t kContextTokens = 700;

  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
    const KvSequence context = sequence_.Branch(kContextTokens, kContextTokens, /*seed=*/0);
    ASSERT_OK(Import(client(), context, "context"));
  }

  // Appends tokens [begin, begin + count) of a sequence in every layer.
  void Append(const std::string& session, const KvSequence& sequence, size_t begin, size_t count) {
    for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
      pb::AttendItem item = sequence.AskAndAppend(session, layer, begin, count);
      item.clear_query();
      ASSERT_OK(stream().AttendOne(item));
    }
  }

  // Whether the session answers as one that holds `held` tokens of the sequence.
  testing::AssertionResult Answers(const std::string& session, const KvSequence& sequence,
                                   size_t held, size_t reused = kContextTokens) {
    for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
      pb::AttendItem item = sequence.Ask(session, layer, held);
      item.mutable_options()->mutable_full();
      const auto result = stream().AttendOne(item);
      if (!result.ok()) return IsOk(result.status());
      auto answer = AnswersItem(sequence, {held, reused}, item, *result);
      if (!answer) return answer << " (layer " << layer << ")";
    }
    return testing::AssertionSuccess();
  }

  StatusOr<pb::Session> Get(const std::string& session_id) {
    pb::GetSessionRequest request;
    request.set_session_id(session_id);
    ALAYA_ASSIGN_OR_RETURN(const auto response, client().GetSession(request));
    return response.session();
  }

  StatusOr<std::string> Fork(const std::string& session_id) {
    pb::ForkSessionRequest request;
    request.set_session_id(session_id);
    ALAYA_ASSIGN_OR_RETURN(const auto response, client().ForkSession(request));
    return response.session_id();
  }

  Status Truncate(const std::string& session_id, uint64_t token_count) {
    pb::TruncateSessionRequest request;
    request.set_session_id(session_id);
    request.set_token_count(token_count);
    return client().TruncateSession(request).status();
  }

  StatusOr<pb::StoreSessionResponse> Store(const std::string& session_id,
                                           const std::vector<uint32_t>& tokens,
                                           const std::string& context_id) {
    pb::StoreSessionRequest request;
    request.set_session_id(session_id);
    SetTokens(tokens, request);
    request.set_context_id(context_id);
    return client().StoreSession(request);
  }

  client::AttendStream& stream() {
    if (!stream_) stream_.emplace(client().Attend());
    return *stream_;
  }

  const pb::Model model_ = MakeModel("test/session");
  const KvSequence sequence_{model_, kContextTokens + 50, /*seed=*/31};

 private:
  std::optional<client::AttendStream> stream_;
};

TEST_F(SessionTest, OpeningByTokensReusesTheLongestStoredPrefix) {
  ASSERT_OK_AND_ASSIGN(const auto whole, OpenSession(client(), model_.name(), sequence_.tokens()));
  const KvSequence branch = sequence_.Branch(123, 200, /*seed=*/32);
  ASSERT_OK_AND_ASSIGN(const auto part, OpenSession(client(), model_.name(), branch.tokens()));

  EXPECT_EQ(whole.reused_tokens(), kContextTokens);
  EXPECT_EQ(whole.context_id(), "context");
  EXPECT_EQ(part.reused_tokens(), 123);
  EXPECT_TRUE(Answers(part.session_id(), branch, 123, 123));
}

TEST_F(SessionTest, GetAndListShowWhatASessionHolds) {
  ASSERT_OK_AND_ASSIGN(const std::string id, OpenSession(client(), "context"));
  Append(id, sequence_, kContextTokens, 9);

  ASSERT_OK_AND_ASSIGN(const pb::Session session, Get(id));

  EXPECT_EQ(session.session_id(), id);
  EXPECT_EQ(session.model(), model_.name());
  EXPECT_EQ(session.context_id(), "context");
  EXPECT_EQ(session.reused_tokens(), kContextTokens);
  EXPECT_EQ(session.tail_tokens(), 9);
  EXPECT_GE(session.tail_bytes(), 9 * 2 * 2 * 8 * 128 * 2);
  EXPECT_GT(session.create_time().seconds(), 1'600'000'000);
  EXPECT_GE(session.last_use_time().seconds(), session.create_time().seconds());
}

TEST_F(SessionTest, ListingPagesThroughAllSessions) {
  std::vector<std::string> opened;
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(opened.emplace_back(), OpenSession(client(), "context"));
  }
  pb::ListSessionsRequest request;
  request.set_page_size(2);
  std::vector<std::string> listed;
  do {
    ASSERT_OK_AND_ASSIGN(const auto page, client().ListSessions(request));
    EXPECT_LE(page.sessions_size(), 2);
    for (const pb::Session& session : page.sessions()) listed.push_back(session.session_id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());

  EXPECT_THAT(listed, UnorderedElementsAreArray(opened));
  EXPECT_TRUE(std::is_sorted(listed.begin(), listed.end()));
}

TEST_F(SessionTest, AStoredSessionIsMatchedByAnother) {
  ASSERT_OK_AND_ASSIGN(const std::string first, OpenSession(client(), "context"));
  Append(first, sequence_, kContextTokens, 50);

  ASSERT_OK_AND_ASSIGN(const auto stored, Store(first, sequence_.tokens(), "stored"));
  ASSERT_OK_AND_ASSIGN(const auto second, OpenSession(client(), model_.name(), sequence_.tokens()));

  EXPECT_EQ(stored.context_id(), "stored");
  EXPECT_EQ(stored.reused_tokens(), kContextTokens);
  EXPECT_GT(stored.stored_bytes(), 0);
  EXPECT_LT(stored.stored_bytes(), kContextTokens * 2 * 2 * 8 * 128 * 2);
  EXPECT_EQ(second.context_id(), "stored");
  EXPECT_EQ(second.reused_tokens(), sequence_.token_count());
  EXPECT_OK(CheckStoredBytes(client(), "stored", sequence_));
  const size_t held = sequence_.token_count();
  EXPECT_TRUE(Answers(second.session_id(), sequence_, held, held));
}

TEST_F(SessionTest, AStoredSessionGoesOn) {
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  Append(session, sequence_, kContextTokens, 20);
  ASSERT_OK(Store(session, sequence_.Prefix(kContextTokens + 20), "first"));
  Append(session, sequence_, kContextTokens + 20, 30);

  EXPECT_TRUE(Answers(session, sequence_, kContextTokens + 50));
  ASSERT_OK(Store(session, sequence_.tokens(), "second"));
  EXPECT_OK(CheckStoredBytes(client(), "second", sequence_));
}

TEST_F(SessionTest, StoringNeedsTheSameTokensInEveryLayer) {
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  pb::AttendItem item = sequence_.AskAndAppend(session, 0, kContextTokens, 5);
  ASSERT_OK(stream().AttendOne(item));

  const auto early = Store(session, sequence_.Prefix(kContextTokens + 5), "stored");
  item = sequence_.AskAndAppend(session, 1, kContextTokens, 5);
  ASSERT_OK(stream().AttendOne(item));
  const auto wrong_count = Store(session, sequence_.Prefix(kContextTokens + 4), "stored");

  EXPECT_TRUE(IsError(early.status(), StatusCode::kFailedPrecondition, {"layer"}));
  EXPECT_TRUE(IsError(wrong_count.status(), StatusCode::kInvalidArgument, {"704", "705"}));
  EXPECT_OK(Store(session, sequence_.Prefix(kContextTokens + 5), "stored"));
}

TEST_F(SessionTest, AForkGoesItsOwnWay) {
  ASSERT_OK_AND_ASSIGN(const std::string parent, OpenSession(client(), "context"));
  Append(parent, sequence_, kContextTokens, 10);
  ASSERT_OK_AND_ASSIGN(const std::string child, Fork(parent));
  const KvSequence other = sequence_.Branch(kContextTokens + 10, kContextTokens + 30, /*seed=*/33);

  Append(parent, sequence_, kContextTokens + 10, 5);
  Append(child, other, kContextTokens + 10, 20);

  EXPECT_NE(parent, child);
  EXPECT_TRUE(Answers(parent, sequence_, kContextTokens + 15));
  EXPECT_TRUE(Answers(child, other, kContextTokens + 30));
  ASSERT_OK(CloseSession(client(), parent));
  EXPECT_TRUE(Answers(child, other, kContextTokens + 30));
}

TEST_F(SessionTest, TruncationRollsBackTheTailAndThePrefix) {
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  Append(session, sequence_, kContextTokens, 20);

  ASSERT_OK(Truncate(session, kContextTokens + 7));
  EXPECT_TRUE(Answers(session, sequence_, kContextTokens + 7));
  Append(session, sequence_, kContextTokens + 7, 3);
  EXPECT_TRUE(Answers(session, sequence_, kContextTokens + 10));

  ASSERT_OK(Truncate(session, 300));
  EXPECT_TRUE(Answers(session, sequence_, 300, 300));
  ASSERT_OK_AND_ASSIGN(const pb::Session cut, Get(session));
  EXPECT_EQ(cut.reused_tokens(), 300);
  EXPECT_EQ(cut.tail_tokens(), 0);
  EXPECT_TRUE(IsError(Truncate(session, 301), StatusCode::kInvalidArgument, {"301", "300"}));
}

TEST_F(SessionTest, ALayerMayNotOvertakeTheOneBeforeIt) {
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  const pb::AttendItem item = sequence_.AskAndAppend(session, 1, kContextTokens, 1);

  const auto overtaking = stream().AttendOne(item);

  EXPECT_TRUE(IsError(overtaking.status(), StatusCode::kFailedPrecondition, {"layer"}));
  EXPECT_TRUE(Answers(session, sequence_, kContextTokens));
}

TEST_F(SessionTest, AClosedSessionIsUnknownAndItsMemoryComesBack) {
  ASSERT_OK_AND_ASSIGN(const ServerState before, ReadServerState(client()));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  Append(session, sequence_, kContextTokens, 40);
  ASSERT_OK_AND_ASSIGN(const ServerState open, ReadServerState(client()));

  ASSERT_OK(CloseSession(client(), session));

  EXPECT_EQ(open.sessions, before.sessions + 1);
  EXPECT_GE(open.tail_bytes, before.tail_bytes + 40 * 2 * 2 * 8 * 128 * 2);
  ASSERT_OK_AND_ASSIGN(const ServerState after, ReadServerState(client()));
  EXPECT_EQ(after, before);
  EXPECT_TRUE(IsError(Get(session).status(), StatusCode::kNotFound, {session}));
  EXPECT_TRUE(IsError(CloseSession(client(), session), StatusCode::kNotFound, {session}));
  const auto result = stream().AttendOne(sequence_.Ask(session, 0, 1));
  EXPECT_TRUE(IsError(result.status(), StatusCode::kNotFound, {session}));
}

}  // namespace
}  // namespace alaya
