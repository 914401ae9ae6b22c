#include "server/rpc/attend_stream.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "tests/server/rpc/rpc_fixture.h"

namespace alaya {
namespace {

class AttendStreamTest : public RpcFixture {
 protected:
  void SetUp() override {
    RpcFixture::SetUp();
    stream_ = sessions_->Attend(&context_);
  }

  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(AttendStreamTest, ResultsComeInItemOrderWithTheRequestsId) {
  ASSERT_TRUE(stream_->Write(Request(42, {"a", "b", "c"})));
  ASSERT_TRUE(engine_.WaitForItems(3));

  for (const size_t index : {2U, 0U, 1U}) engine_.Answer(index);
  v1::AttendResponse response;
  ASSERT_TRUE(stream_->Read(&response));

  EXPECT_EQ(response.request_id(), 42U);
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(engine_.item(0).item.session_id, "a");
  EXPECT_EQ(engine_.item(2).item.session_id, "c");
  const v1::AttendResult& result = response.results(0);
  EXPECT_EQ(result.status().code(), 0);
  EXPECT_EQ(result.output().data(), Request(0, {"a"}).items(0).query().data());
  EXPECT_EQ(result.log_sum_exp().data().size(), 2 * sizeof(float));
  EXPECT_EQ(result.stats().engine_microseconds(), 5);
  EXPECT_EQ(observer_.items, 3);
}

TEST_F(AttendStreamTest, RequestsReachTheEngineBeforeEarlierOnesAreAnswered) {
  for (uint64_t id = 1; id <= 3; ++id) ASSERT_TRUE(stream_->Write(Request(id, {"a"})));

  EXPECT_TRUE(engine_.WaitForItems(3));

  for (const size_t index : {0U, 1U, 2U}) engine_.Answer(index);
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(ReadId(stream_.get()), id);
}

TEST_F(AttendStreamTest, AnswersOvertakeAcrossSessionsButNeverWithinOne) {
  ASSERT_TRUE(stream_->Write(Request(1, {"a", "b"})));
  ASSERT_TRUE(stream_->Write(Request(2, {"b"})));
  ASSERT_TRUE(stream_->Write(Request(3, {"c"})));
  ASSERT_TRUE(stream_->Write(Request(4, {"b", "c"})));
  ASSERT_TRUE(engine_.WaitForItems(6));

  // Everything but request 1's session a.
  for (const size_t index : {5U, 4U, 1U, 2U, 3U}) engine_.Answer(index);
  EXPECT_EQ(ReadId(stream_.get()), 3U);
  engine_.Answer(0);

  EXPECT_EQ(ReadId(stream_.get()), 1U);
  EXPECT_EQ(ReadId(stream_.get()), 2U);
  EXPECT_EQ(ReadId(stream_.get()), 4U);
}

TEST_F(AttendStreamTest, ABadItemFailsAloneAndTheStreamLivesOn) {
  engine_.answers_at_once = true;
  v1::AttendRequest request = Request(1, {"a", "b", "c"});
  request.mutable_items(1)->mutable_query()->mutable_data()->pop_back();
  ASSERT_TRUE(stream_->Write(request));

  v1::AttendResponse response;
  ASSERT_TRUE(stream_->Read(&response));

  EXPECT_EQ(response.results(0).status().code(), 0);
  EXPECT_EQ(response.results(2).status().code(), 0);
  const google::rpc::Status& status = response.results(1).status();
  EXPECT_EQ(status.code(), static_cast<int>(StatusCode::kInvalidArgument));
  EXPECT_FALSE(response.results(1).has_output());
  google::rpc::ErrorInfo info;
  ASSERT_EQ(status.details_size(), 1);
  ASSERT_TRUE(status.details(0).UnpackTo(&info));
  EXPECT_EQ(info.domain(), "alayadb");
  EXPECT_EQ(info.reason(), "TENSOR_DATA_LENGTH");
  EXPECT_EQ(info.metadata().at("field"), "items[1].query");
  ASSERT_TRUE(stream_->Write(Request(2, {"a"})));
  EXPECT_EQ(ReadId(stream_.get()), 2U);
}

TEST_F(AttendStreamTest, WrongItemCountsAreAnsweredWithErrors) {
  v1::AttendRequest too_many;
  for (int i = 0; i < 9; ++i) *too_many.add_items() = Request(0, {"a"}).items(0);
  for (const auto& [request, result_count] :
       {std::pair(v1::AttendRequest(), 1), std::pair(too_many, 9)}) {
    ASSERT_TRUE(stream_->Write(request));
    v1::AttendResponse response;
    ASSERT_TRUE(stream_->Read(&response));
    ASSERT_EQ(response.results_size(), result_count);
    for (const v1::AttendResult& result : response.results()) {
      EXPECT_EQ(result.status().code(), static_cast<int>(StatusCode::kInvalidArgument));
    }
  }
  EXPECT_EQ(engine_.item_count(), 0U);
}

TEST_F(AttendStreamTest, HalfCloseAnswersEverythingOutstandingAndFinishesOk) {
  ASSERT_TRUE(stream_->Write(Request(1, {"a"})));
  ASSERT_TRUE(stream_->Write(Request(2, {"b"})));
  ASSERT_TRUE(stream_->WritesDone());
  ASSERT_TRUE(engine_.WaitForItems(2));

  engine_.Answer(1);
  EXPECT_EQ(ReadId(stream_.get()), 2U);
  engine_.Answer(0);
  EXPECT_EQ(ReadId(stream_.get()), 1U);
  EXPECT_EQ(ReadId(stream_.get()), 0U);
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(AttendStreamTest, AStreamWithoutRequestsFinishesOk) {
  ASSERT_TRUE(stream_->WritesDone());
  EXPECT_EQ(ReadId(stream_.get()), 0U);
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(AttendStreamTest, CancellationReachesTheEngineAndTheStreamEnds) {
  ASSERT_TRUE(stream_->Write(Request(1, {"a"})));
  ASSERT_TRUE(engine_.WaitForItems(1));
  EXPECT_FALSE(engine_.item(0).cancelled());

  context_.TryCancel();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!engine_.item(0).cancelled() && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
  }

  EXPECT_TRUE(engine_.item(0).cancelled());
  engine_.Answer(0);
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // The drain returns only when the stream is gone.
  EXPECT_TRUE(server_->Drain(std::chrono::seconds(60)));
}

TEST_F(AttendStreamTest, TheDeadlineReachesTheEngine) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto stream = sessions_->Attend(&context);
  ASSERT_TRUE(stream->Write(Request(1, {"a"})));
  ASSERT_TRUE(stream_->Write(Request(2, {"a"})));
  ASSERT_TRUE(engine_.WaitForItems(2));

  int with_deadline = 0;
  for (const size_t index : {0U, 1U}) {
    const Deadline deadline = engine_.item(index).deadline;
    if (deadline == Deadline::max()) continue;
    ++with_deadline;
    const auto remaining = deadline - std::chrono::steady_clock::now();
    EXPECT_GT(remaining, std::chrono::seconds(30));
    EXPECT_LE(remaining, std::chrono::seconds(61));
  }

  EXPECT_EQ(with_deadline, 1);
  for (const size_t index : {0U, 1U}) engine_.Answer(index);
  EXPECT_EQ(ReadId(stream.get()), 1U);
}

TEST_F(AttendStreamTest, AtTheLimitTheStreamIsNotReadUntilAnAnswerIsWritten) {
  constexpr uint64_t kRequestCount = 10;
  for (uint64_t id = 1; id <= kRequestCount; ++id) ASSERT_TRUE(stream_->Write(Request(id, {"a"})));
  ASSERT_TRUE(engine_.WaitForItems(kInFlightMax));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(engine_.item_count(), kInFlightMax);

  for (uint64_t id = 1; id <= kRequestCount; ++id) {
    ASSERT_TRUE(engine_.WaitForItems(id));
    EXPECT_LE(engine_.item_count(), id - 1 + kInFlightMax);
    engine_.Answer(id - 1);
    EXPECT_EQ(ReadId(stream_.get()), id);
  }
}

TEST_F(AttendStreamTest, ManyRequestsOfManySessionsAllComeBackInSessionOrder) {
  engine_.answers_at_once = true;
  constexpr uint64_t kRequestCount = 2000;
  std::thread writer([this] {
    for (uint64_t id = 1; id <= kRequestCount; ++id) {
      const std::string session = "s" + std::to_string(id % 3);
      EXPECT_TRUE(stream_->Write(Request(id, {session.c_str(), "t"})));
    }
    stream_->WritesDone();
  });
  for (uint64_t id = 1; id <= kRequestCount; ++id) EXPECT_EQ(ReadId(stream_.get()), id);
  writer.join();
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(AttendStreamTest, ADrainAnswersWhatIsInFlightThenEndsTheStreamAsUnavailable) {
  grpc::ClientContext idle_context;
  const auto idle = sessions_->Attend(&idle_context);
  engine_.answers_at_once = true;
  ASSERT_TRUE(idle->Write(Request(1, {"z"})));
  EXPECT_EQ(ReadId(idle.get()), 1U);
  engine_.answers_at_once = false;
  ASSERT_TRUE(stream_->Write(Request(7, {"a"})));
  ASSERT_TRUE(engine_.WaitForItems(1));
  EXPECT_EQ(Health(""), 1);
  EXPECT_EQ(Health("alaya.v1.SessionService"), 1);

  auto drained =
      std::async(std::launch::async, [this] { return server_->Drain(std::chrono::seconds(60)); });
  EXPECT_EQ(ReadId(idle.get()), 0U);

  EXPECT_EQ(idle->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Health(""), 2);
  EXPECT_EQ(Health("alaya.v1.SessionService"), 2);
  v1::ListModelsResponse models;
  grpc::ClientContext unary_context;
  EXPECT_EQ(admin_->ListModels(&unary_context, {}, &models).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext late_context;
  const auto late = sessions_->Attend(&late_context);
  EXPECT_EQ(late->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  engine_.Answer(0);
  EXPECT_EQ(ReadId(stream_.get()), 7U);
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(drained.get());
  EXPECT_EQ(observer_.started, observer_.finished);
}

TEST_F(AttendStreamTest, ADrainThatTakesTooLongCancelsWhatIsInFlight) {
  ASSERT_TRUE(stream_->Write(Request(1, {"a"})));
  ASSERT_TRUE(engine_.WaitForItems(1));

  auto drained = std::async(std::launch::async,
                            [this] { return server_->Drain(std::chrono::milliseconds(20)); });
  while (!engine_.item(0).cancelled()) std::this_thread::yield();
  engine_.Answer(0);

  EXPECT_FALSE(drained.get());
  EXPECT_FALSE(stream_->Finish().ok());
}

}  // namespace
}  // namespace alaya
