// What survives the end of the server process, and how it ends.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

uint64_t BytesBelow(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code ignored;  // files come and go under us
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, ignored)) {
    const uint64_t size = entry.is_regular_file(ignored) ? entry.file_size(ignored) : 0;
    if (!ignored) bytes += size;
  }
  return bytes;
}

class RestartTest : public ServiceTest {
 protected:
  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
  }

  // Starts an import and leaves it open with `layer_count` layers sent.
  StatusOr<client::ContextImporter> OpenImport(const KvSequence& sequence, uint32_t layer_count) {
    ALAYA_ASSIGN_OR_RETURN(auto importer, client().ImportContext(ImportHeader(sequence, "half")));
    const size_t count = sequence.token_count();
    for (uint32_t layer = 0; layer < layer_count; ++layer) {
      ALAYA_RETURN_IF_ERROR(importer.AppendChunk({.layer = layer,
                                                  .token_begin = 0,
                                                  .key = sequence.Keys(layer, 0, count),
                                                  .value = sequence.Values(layer, 0, count),
                                                  .query = {}}));
    }
    return importer;
  }

  const pb::Model model_ = MakeModel("test/restart");
  const KvSequence sequence_{model_, 900, /*seed=*/51};
};

TEST_F(RestartTest, SigtermDrainsExitsWithZeroAndKeepsContexts) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));

  ASSERT_OK_AND_ASSIGN(const int exit_status, server().Terminate());
  EXPECT_EQ(exit_status, 0) << server().Log();
  StartServer();

  EXPECT_OK(CheckStoredBytes(client(), "context", sequence_));
  ASSERT_OK_AND_ASSIGN(const auto models, client().ListModels());
  EXPECT_EQ(models.models_size(), 1);
  pb::GetSessionRequest request;
  request.set_session_id(session);
  EXPECT_TRUE(IsError(client().GetSession(request).status(), StatusCode::kNotFound, {session}));
}

TEST_F(RestartTest, AnAcknowledgedImportSurvivesKill) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  server().Kill();
  StartServer();

  EXPECT_OK(CheckStoredBytes(client(), "context", sequence_));
  ASSERT_OK_AND_ASSIGN(const auto session,
                       OpenSession(client(), model_.name(), sequence_.tokens()));
  EXPECT_EQ(session.reused_tokens(), sequence_.token_count());
  client::AttendStream stream = client().Attend();
  const pb::AttendItem item = sequence_.Ask(session.session_id(), 0, 900);
  ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));
  EXPECT_TRUE(AnswersItem(sequence_, {900, 900}, item, result));
}

TEST_F(RestartTest, AStoredSessionAnUpdateAndADeleteSurviveKill) {
  const KvSequence context = sequence_.Branch(600, 600, /*seed=*/0);
  const KvSequence unwanted(model_, 50, /*seed=*/52);
  ASSERT_OK(Import(client(), context, "context"));
  ASSERT_OK(Import(client(), unwanted, "unwanted"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend();
  for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
    pb::AttendItem item = sequence_.AskAndAppend(session, layer, 600, 300);
    item.clear_query();
    ASSERT_OK(stream.AttendOne(item));
  }
  pb::StoreSessionRequest store;
  store.set_session_id(session);
  store.set_context_id("stored");
  SetTokens(sequence_.tokens(), store);
  ASSERT_OK(client().StoreSession(store));
  pb::UpdateContextRequest update;
  update.set_context_id("context");
  update.set_pinned(true);
  ASSERT_OK(client().UpdateContext(update));
  ASSERT_OK(Delete(client(), "unwanted"));

  server().Kill();
  StartServer();

  EXPECT_OK(CheckStoredBytes(client(), "stored", sequence_));
  ASSERT_OK_AND_ASSIGN(const auto ids, ContextIds(client()));
  EXPECT_THAT(ids, testing::UnorderedElementsAre("context", "stored"));
  pb::GetContextRequest get;
  get.set_context_id("context");
  ASSERT_OK_AND_ASSIGN(const auto pinned, client().GetContext(get));
  EXPECT_TRUE(pinned.context().pinned());
}

TEST_F(RestartTest, AKillDuringAnImportLeavesNothingBehind) {
  ASSERT_OK(Import(client(), sequence_, "whole"));
  const uint64_t bytes_before = BytesBelow(data_path());
  const KvSequence half(model_, 12'000, /*seed=*/53);                // 96 MiB of keys and values
  const uint64_t half_bytes = half.token_count() * 2 * 8 * 128 * 2;  // of one layer
  {
    ASSERT_OK_AND_ASSIGN(const auto importer, OpenImport(half, /*layer_count=*/1));
    // The server may still be reading the last messages, so wait until bytes are on disk.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (BytesBelow(data_path()) < bytes_before + half_bytes / 2 &&
           std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_GE(BytesBelow(data_path()), bytes_before + half_bytes / 2) << "nothing was half-written";
    server().Kill();
  }
  StartServer();

  ASSERT_OK_AND_ASSIGN(const auto ids, ContextIds(client()));
  EXPECT_THAT(ids, testing::ElementsAre("whole"));
  EXPECT_OK(CheckStoredBytes(client(), "whole", sequence_));
  ASSERT_OK_AND_ASSIGN(const auto match, Match(client(), model_.name(), half.tokens()));
  EXPECT_EQ(match.matched_tokens(), 0);
  ASSERT_OK(client().CompactStorage());
  EXPECT_LT(BytesBelow(data_path()), bytes_before + half_bytes / 10);
  ASSERT_OK(Import(client(), half, "half"));
  EXPECT_OK(CheckStoredBytes(client(), "half", half));
}

TEST_F(RestartTest, KillsAtAnyMomentOfAnImportLeaveAllOrNothing) {
  const KvSequence victim(model_, 3000, /*seed=*/54);
  for (const int delay_ms : {0, 3, 10, 25, 50, 90, 150}) {
    SCOPED_TRACE(delay_ms);
    auto import =
        std::async(std::launch::async, [&] { return Import(client(), victim, "victim").status(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    server().Kill();
    const bool acknowledged = import.get().ok();
    StartServer();

    ASSERT_OK_AND_ASSIGN(const auto ids, ContextIds(client()));
    const bool there = std::find(ids.begin(), ids.end(), "victim") != ids.end();
    EXPECT_TRUE(there || !acknowledged);
    if (there) {
      EXPECT_OK(CheckStoredBytes(client(), "victim", victim));
      ASSERT_OK(Delete(client(), "victim"));
    }
  }
}

TEST_F(RestartTest, SigtermAnswersWhatIsInFlightAndRefusesNewWork) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend({.requests_in_flight_max = 32});
  std::vector<std::future<StatusOr<pb::AttendResponse>>> answers;
  for (size_t i = 0; i < 32; ++i) {
    pb::AttendRequest request;
    pb::AttendItem item = sequence_.Ask(session, 0, i, /*count=*/16);
    item.mutable_options()->mutable_full();
    *request.add_items() = std::move(item);
    answers.push_back(stream.Send(std::move(request)));
  }
  // The first answer shows that the requests are being worked on.
  ASSERT_OK(answers.front().get());

  ASSERT_OK_AND_ASSIGN(const int exit_status, server().Terminate());

  EXPECT_EQ(exit_status, 0) << server().Log();
  // Each one is either answered or refused as a whole; none is lost or cut off.
  for (size_t i = 1; i < answers.size(); ++i) {
    const auto answer = answers[i].get();
    if (!answer.ok()) {
      EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable) << answer.status().ToString();
      continue;
    }
    ASSERT_EQ(answer->results_size(), 1);
    const int code = answer->results(0).status().code();
    EXPECT_TRUE(code == 0 || code == static_cast<int>(StatusCode::kUnavailable)) << code;
  }
}

TEST_F(RestartTest, ASecondServerOnTheSameDataIsRefused) {
  const KvSequence half(model_, 2000, /*seed=*/56);
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(auto importer, OpenImport(half, /*layer_count=*/1));
  ServerProcessOptions options;
  options.data_directory = data_path();

  const auto second = ServerProcess::Start(options);

  ASSERT_FALSE(second.ok());
  const std::string message(Message(second.status()));
  EXPECT_NE(message.find(data_path()), std::string::npos) << message;
  EXPECT_NE(message.find("in use"), std::string::npos) << message;
  // It touched nothing of the first one's, not even an import that goes on.
  EXPECT_OK(CheckStoredBytes(client(), "context", sequence_));
  ASSERT_OK(importer.AppendChunk({.layer = 1,
                                  .token_begin = 0,
                                  .key = half.Keys(1, 0, 2000),
                                  .value = half.Values(1, 0, 2000),
                                  .query = {}}));
  ASSERT_OK(importer.Commit());
  EXPECT_OK(CheckStoredBytes(client(), "half", half));
}

TEST_F(RestartTest, DeletedSpaceComesBack) {
  const KvSequence large(model_, 8000, /*seed=*/55);
  const uint64_t large_bytes = large.token_count() * 2 * 2 * 8 * 128 * 2;
  ASSERT_OK(Import(client(), large, "large"));
  const uint64_t bytes_full = BytesBelow(data_path());
  EXPECT_GE(bytes_full, large_bytes);

  ASSERT_OK(Delete(client(), "large"));

  // The build of its index holds the pages until it notices.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  do {
    ASSERT_OK(client().CompactStorage());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  } while (BytesBelow(data_path()) >= bytes_full - large_bytes * 9 / 10 &&
           std::chrono::steady_clock::now() < deadline);
  EXPECT_LT(BytesBelow(data_path()), bytes_full - large_bytes * 9 / 10);
}

}  // namespace
}  // namespace alaya
