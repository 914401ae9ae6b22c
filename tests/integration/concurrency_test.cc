// Many sessions at once: every answer is the one that a serial run gets.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

constexpr size_t kContextTokens = 600;
constexpr size_t kStepCount = 12;
constexpr size_t kSessionCount = 16;
constexpr size_t kStreamCount = 4;
constexpr int kNotFoundCode = static_cast<int>(StatusCode::kNotFound);

using Answer = std::future<StatusOr<pb::AttendResponse>>;

class ConcurrencyTest : public ServiceTest {
 protected:
  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
    const KvSequence context = base_.Branch(kContextTokens, kContextTokens, /*seed=*/0);
    ASSERT_OK(Import(client(), context, "context"));
    for (size_t i = 0; i < kSessionCount; ++i) {
      sequences_.push_back(base_.Branch(kContextTokens, kContextTokens + kStepCount, 100 + i));
    }
  }

  // The item of one decode step; odd layers ask sparsely, even ones fully.
  pb::AttendItem StepItem(size_t sequence, const std::string& session, size_t step,
                          uint32_t layer) const {
    pb::AttendItem item =
        sequences_[sequence].AskAndAppend(session, layer, kContextTokens + step, 1);
    if (layer % 2 == 0) item.mutable_options()->mutable_full();
    return item;
  }

  // Output and log_sum_exp of every (step, layer) of one sequence.
  using Transcript = std::vector<std::string>;
  static std::string Line(const pb::AttendResult& result) {
    return result.output().data() + result.log_sum_exp().data();
  }

  // One session, one request at a time.
  StatusOr<Transcript> RunSerially(size_t sequence) {
    Transcript transcript;
    ALAYA_ASSIGN_OR_RETURN(const std::string session, OpenSession(client(), "context"));
    client::AttendStream stream = client().Attend();
    for (size_t step = 0; step < kStepCount; ++step) {
      for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
        ALAYA_ASSIGN_OR_RETURN(const auto result,
                               stream.AttendOne(StepItem(sequence, session, step, layer)));
        transcript.push_back(Line(result));
      }
    }
    ALAYA_RETURN_IF_ERROR(CloseSession(client(), session));
    return transcript;
  }

  StatusOr<std::vector<Transcript>> RunAllSerially() {
    std::vector<Transcript> transcripts;
    for (size_t i = 0; i < kSessionCount; ++i) {
      ALAYA_ASSIGN_OR_RETURN(transcripts.emplace_back(), RunSerially(i));
    }
    return transcripts;
  }

  StatusOr<std::vector<std::string>> OpenSessions() {
    std::vector<std::string> sessions;
    for (size_t i = 0; i < kSessionCount; ++i) {
      ALAYA_ASSIGN_OR_RETURN(sessions.emplace_back(), OpenSession(client(), "context"));
    }
    return sessions;
  }

  const pb::Model model_ =
      MakeModel("test/concurrency", {.layers = 2, .query_heads = 8, .kv_heads = 2});
  const KvSequence base_{model_, kContextTokens, /*seed=*/41};
  std::vector<KvSequence> sequences_;  // [kSessionCount], they share the context
};

// Waits for an answer of one item and appends it to a transcript.
Status Collect(Answer& answer, std::vector<std::string>& transcript,
               std::string (*line)(const pb::AttendResult&)) {
  ALAYA_ASSIGN_OR_RETURN(const pb::AttendResponse response, answer.get());
  for (const pb::AttendResult& result : response.results()) {
    if (result.status().code() != 0) return client::ToStatus(result.status());
    transcript.push_back(line(result));
  }
  return OkStatus();
}

TEST_F(ConcurrencyTest, SixteenSessionsOnFourPipelinedStreamsAnswerAsSerially) {
  ASSERT_OK_AND_ASSIGN(const auto expected, RunAllSerially());
  ASSERT_OK_AND_ASSIGN(const auto sessions, OpenSessions());
  std::vector<std::vector<Answer>> answers(kSessionCount);

  std::vector<std::thread> threads;
  std::vector<client::AttendStream> streams;
  for (size_t s = 0; s < kStreamCount; ++s) {
    streams.push_back(client().Attend({.requests_in_flight_max = 24}));
  }
  for (size_t s = 0; s < kStreamCount; ++s) {
    threads.emplace_back([&, s] {
      for (size_t step = 0; step < kStepCount; ++step) {
        for (size_t i = s; i < kSessionCount; i += kStreamCount) {
          for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
            pb::AttendRequest request;
            *request.add_items() = StepItem(i, sessions[i], step, layer);
            answers[i].push_back(streams[s].Send(std::move(request)));
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (size_t i = 0; i < kSessionCount; ++i) {
    Transcript transcript;
    for (Answer& answer : answers[i]) ASSERT_OK(Collect(answer, transcript, &Line));
    EXPECT_TRUE(transcript == expected[i]) << "session " << i;
  }
  for (client::AttendStream& stream : streams) EXPECT_OK(stream.Close());
}

TEST_F(ConcurrencyTest, ARequestMayHoldItemsOfManySessionsAndLayers) {
  ASSERT_OK_AND_ASSIGN(const auto expected, RunAllSerially());
  ASSERT_OK_AND_ASSIGN(const auto sessions, OpenSessions());
  client::AttendStream stream = client().Attend();
  std::vector<Answer> answers;
  for (size_t step = 0; step < kStepCount; ++step) {
    pb::AttendRequest request;
    for (size_t i = 0; i < kSessionCount; ++i) {
      for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
        *request.add_items() = StepItem(i, sessions[i], step, layer);
      }
    }
    answers.push_back(stream.Send(std::move(request)));
  }

  std::vector<Transcript> transcripts(kSessionCount);
  for (Answer& answer : answers) {
    ASSERT_OK_AND_ASSIGN(const pb::AttendResponse response, answer.get());
    ASSERT_EQ(response.results_size(), static_cast<int>(kSessionCount * model_.num_layers()));
    for (int item = 0; item < response.results_size(); ++item) {
      ASSERT_EQ(response.results(item).status().code(), 0)
          << response.results(item).status().message();
      transcripts[static_cast<size_t>(item) / model_.num_layers()].push_back(
          Line(response.results(item)));
    }
  }
  EXPECT_TRUE(transcripts == expected);
}

TEST_F(ConcurrencyTest, AnswersOfASessionComeInOrderAndAFailedItemFailsAlone) {
  ASSERT_OK_AND_ASSIGN(const auto sessions, OpenSessions());
  client::AttendStream stream = client().Attend();
  std::mutex mutex;
  std::map<size_t, std::vector<uint64_t>> order;  // request ids by session
  std::atomic<int> error_count{0};
  constexpr uint64_t kRoundCount = 20;
  for (uint64_t round = 0; round < kRoundCount; ++round) {
    for (size_t i = 0; i < kSessionCount; ++i) {
      pb::AttendRequest request;
      request.set_request_id(round);
      *request.add_items() = sequences_[i].Ask(sessions[i], 0, round);
      *request.add_items() = sequences_[i].Ask("no-such-session", 0, round);
      *request.add_items() = sequences_[i].Ask(sessions[i], 1, round);
      stream.Send(std::move(request), [&, i](StatusOr<pb::AttendResponse> response) {
        const std::scoped_lock lock(mutex);
        const bool as_expected = response.ok() && response->results_size() == 3 &&
                                 response->results(0).status().code() == 0 &&
                                 response->results(1).status().code() == kNotFoundCode &&
                                 response->results(2).status().code() == 0;
        if (!as_expected) ++error_count;
        if (response.ok()) order[i].push_back(response->request_id());
      });
    }
  }
  ASSERT_OK(stream.Close());

  EXPECT_EQ(error_count, 0);
  ASSERT_EQ(order.size(), kSessionCount);
  for (const auto& [session, ids] : order) {
    EXPECT_EQ(ids.size(), kRoundCount);
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end())) << "session " << session;
  }
}

TEST_F(ConcurrencyTest, ImportsAndDeletesBesideItDisturbNobody) {
  ASSERT_OK_AND_ASSIGN(const auto expected, RunAllSerially());
  std::atomic<bool> done{false};
  std::atomic<int> import_count{0};
  std::vector<std::future<Status>> importers;
  for (uint64_t worker = 0; worker < 2; ++worker) {
    importers.push_back(std::async(std::launch::async, [&, worker]() -> Status {
      for (uint64_t i = 0; !done; ++i) {
        const std::string id = "w" + std::to_string(worker) + "-" + std::to_string(i);
        const KvSequence sequence(model_, 500, 1000 * (worker + 1) + i);
        ALAYA_RETURN_IF_ERROR(Import(client(), sequence, id).status());
        ALAYA_RETURN_IF_ERROR(CheckStoredBytes(client(), id, sequence));
        ALAYA_RETURN_IF_ERROR(Delete(client(), id).status());
        ++import_count;
      }
      return OkStatus();
    }));
  }

  std::vector<std::future<StatusOr<Transcript>>> runs;
  for (size_t i = 0; i < kSessionCount; ++i) {
    runs.push_back(std::async(std::launch::async, [&, i] { return RunSerially(i); }));
  }
  for (size_t i = 0; i < kSessionCount; ++i) {
    ASSERT_OK_AND_ASSIGN(const Transcript transcript, runs[i].get());
    EXPECT_TRUE(transcript == expected[i]) << "session " << i;
  }
  done = true;
  for (auto& importer : importers) EXPECT_OK(importer.get());

  EXPECT_GE(import_count, 1);
  ASSERT_OK_AND_ASSIGN(const ServerState state, ReadServerState(client()));
  EXPECT_EQ(state.contexts, 1);
  EXPECT_EQ(state.sessions, 0);
}

TEST_F(ConcurrencyTest, TheSameNewContextImportedTwiceAtOnceIsStoredOnce) {
  const KvSequence sequence(model_, 3000, /*seed=*/43);
  std::vector<std::future<Status>> imports;
  for (int i = 0; i < 4; ++i) {
    imports.push_back(std::async(std::launch::async,
                                 [&] { return Import(client(), sequence, "twin").status(); }));
  }
  int ok_count = 0;
  for (auto& import : imports) {
    const Status status = import.get();
    if (status.ok()) ++ok_count;
    EXPECT_TRUE(status.ok() || IsError(status, StatusCode::kAlreadyExists, {"twin"}));
  }

  EXPECT_EQ(ok_count, 1);
  EXPECT_OK(CheckStoredBytes(client(), "twin", sequence));
}

}  // namespace
}  // namespace alaya
