#include "client/attend_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <latch>
#include <thread>

#include "client/client.h"
#include "client/rpc_status.h"
#include "client/tensor.h"
#include "tests/client/fake_server.h"

namespace alaya::client {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

using Call = FakeSessionService::AttendCall;

// A gate that the server's script waits at; a cancelled call goes through.
class Gate {
 public:
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void Wait(const grpc::ServerContext* context) {
    std::unique_lock lock(mutex_);
    while (!open_ && !context->IsCancelled()) changed_.wait_for(lock, milliseconds(5));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class AttendStreamTest : public testing::Test {
 protected:
  AttendStream Open(AttendStreamOptions options = {}) {
    StatusOr<Client> client = Client::Connect(server_.target());
    EXPECT_TRUE(client.ok()) << client.status();
    return client->Attend(options);
  }

  static pb::AttendItem Item(const std::string& session_id, float value) {
    pb::AttendItem item;
    item.set_session_id(session_id);
    const std::vector<float> query(8, value);
    *item.mutable_query() = *MakeTensor(query, 1, 1, 8);
    return item;
  }

  static pb::AttendRequest Request(uint64_t request_id, float value) {
    pb::AttendRequest request;
    request.set_request_id(request_id);
    *request.add_items() = Item("s", value);
    return request;
  }

  static float ValueOf(const pb::AttendResponse& response) {
    return ToFloats(response.results(0).output())->at(0);
  }

  // A script that keeps the stream open and answers nothing until it is cancelled.
  void NeverAnswer() {
    server_.sessions.attend_script = [](grpc::ServerContext* context, Call* call) {
      pb::AttendRequest request;
      while (call->Read(&request)) {
      }
      while (!context->IsCancelled()) std::this_thread::sleep_for(milliseconds(2));
      return grpc::Status::CANCELLED;
    };
  }

  FakeServer server_;
};

TEST_F(AttendStreamTest, OneItemIsAnswered) {
  AttendStream stream = Open();

  const auto result = stream.AttendOne(Item("s", 3.0F));

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ToFloats(result->output())->at(0), 3.0F);
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(AttendStreamTest, PipelinedRequestsOfManyThreadsGetTheirOwnAnswers) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 250;
  AttendStream stream = Open();
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::future<StatusOr<pb::AttendResponse>>> futures;
      futures.reserve(kRequests);
      for (int i = 0; i < kRequests; ++i) {
        const auto id = static_cast<uint64_t>(i);
        futures.push_back(stream.Send(Request(id, static_cast<float>(t * kRequests + i))));
      }
      for (int i = 0; i < kRequests; ++i) {
        const auto response = futures[static_cast<size_t>(i)].get();
        const bool matches = response.ok() && response->request_id() == static_cast<uint64_t>(i) &&
                             ValueOf(*response) == static_cast<float>(t * kRequests + i);
        right += matches ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(right, kThreads * kRequests);
  EXPECT_EQ(stream.pending_count(), 0U);
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(AttendStreamTest, AnswersMayOvertake) {
  server_.sessions.attend_script = [](grpc::ServerContext*, Call* call) {
    pb::AttendRequest first;
    pb::AttendRequest second;
    call->Read(&first);
    call->Read(&second);
    call->Write(FakeSessionService::EchoAnswer(second));
    call->Write(FakeSessionService::EchoAnswer(first));
    return grpc::Status::OK;
  };
  AttendStream stream = Open();
  std::vector<uint64_t> order;
  std::latch answered(2);
  const auto note = [&](StatusOr<pb::AttendResponse> response) {
    order.push_back(response.ok() ? response->request_id() : 0);
    answered.count_down();
  };

  stream.Send(Request(11, 1), note);
  stream.Send(Request(22, 2), note);
  answered.wait();

  EXPECT_THAT(order, ElementsAre(22U, 11U));
}

TEST_F(AttendStreamTest, NoMoreThanTheLimitAreInFlight) {
  constexpr size_t kLimit = 3;
  constexpr size_t kRequests = 10;
  Gate gate;
  std::atomic<size_t> received = 0;
  server_.sessions.attend_script = [&](grpc::ServerContext* context, Call* call) {
    // Reads on while nothing is answered: a fourth request would be counted.
    std::mutex mutex;
    std::vector<pb::AttendRequest> unanswered;
    std::thread reader([&] {
      pb::AttendRequest request;
      while (call->Read(&request)) {
        const std::lock_guard lock(mutex);
        unanswered.push_back(request);
        ++received;
      }
    });
    gate.Wait(context);
    for (size_t answered = 0; answered < kRequests && !context->IsCancelled();) {
      std::vector<pb::AttendRequest> batch;
      {
        const std::lock_guard lock(mutex);
        batch.swap(unanswered);
      }
      for (const auto& request : batch) call->Write(FakeSessionService::EchoAnswer(request));
      answered += batch.size();
    }
    reader.join();
    return grpc::Status::OK;
  };
  AttendStreamOptions options;
  options.requests_in_flight_max = kLimit;
  AttendStream stream = Open(options);

  std::vector<std::future<StatusOr<pb::AttendResponse>>> futures;
  for (uint64_t i = 0; i < kRequests; ++i) futures.push_back(stream.Send(Request(i, 0)));
  std::this_thread::sleep_for(milliseconds(100));

  EXPECT_EQ(received, kLimit);
  EXPECT_EQ(stream.pending_count(), kRequests);
  gate.Open();
  EXPECT_TRUE(stream.Close().ok());
  for (auto& future : futures) EXPECT_TRUE(future.get().ok());
}

TEST_F(AttendStreamTest, AnItemThatFailsLeavesTheOthersAndTheStreamAlive) {
  AttendStream stream = Open();
  pb::AttendRequest request;
  *request.add_items() = Item("s", 1);
  *request.add_items() = Item("unknown", 2);

  const auto response = stream.Send(request).get();
  const auto alone = stream.AttendOne(Item("unknown", 2));
  const auto after = stream.AttendOne(Item("s", 5));

  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(ToStatus(response->results(0).status()).ok());
  EXPECT_EQ(ToStatus(response->results(1).status()).code(), StatusCode::kNotFound);
  EXPECT_EQ(alone.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ErrorInfoOf(alone.status())->reason(), "SESSION_NOT_FOUND");
  EXPECT_TRUE(after.ok());
}

TEST_F(AttendStreamTest, TheStreamsErrorReachesEveryPendingCallAndLaterOnes) {
  server_.sessions.attend_script = [](grpc::ServerContext*, Call* call) {
    pb::AttendRequest request;
    for (int i = 0; i < 3; ++i) call->Read(&request);
    return grpc::Status(grpc::RESOURCE_EXHAUSTED, "too many streams");
  };
  AttendStream stream = Open();

  std::vector<std::future<StatusOr<pb::AttendResponse>>> futures;
  for (uint64_t i = 0; i < 5; ++i) futures.push_back(stream.Send(Request(i, 0)));
  for (auto& future : futures) {
    const auto response = future.get();
    EXPECT_EQ(response.status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(Message(response.status()), "too many streams");
  }

  EXPECT_EQ(stream.AttendOne(Item("s", 1)).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(stream.Close().code(), StatusCode::kResourceExhausted);
}

TEST_F(AttendStreamTest, AServerThatEndsEarlyWithoutErrorIsUnavailable) {
  server_.sessions.attend_script = [](grpc::ServerContext*, Call* call) {
    pb::AttendRequest request;
    call->Read(&request);
    return grpc::Status::OK;
  };
  AttendStream stream = Open();

  EXPECT_EQ(stream.AttendOne(Item("s", 1)).status().code(), StatusCode::kUnavailable);
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(AttendStreamTest, AServerThatDiesFailsWhatIsPending) {
  std::latch received(1);
  server_.sessions.attend_script = [&](grpc::ServerContext* context, Call* call) {
    pb::AttendRequest request;
    call->Read(&request);
    received.count_down();
    while (!context->IsCancelled()) std::this_thread::sleep_for(milliseconds(2));
    return grpc::Status::CANCELLED;
  };
  AttendStream stream = Open();
  auto future = stream.Send(Request(1, 0));
  received.wait();

  server_.Kill();

  const StatusCode code = future.get().status().code();
  EXPECT_TRUE(code == StatusCode::kUnavailable || code == StatusCode::kCancelled) << code;
  EXPECT_FALSE(stream.AttendOne(Item("s", 1)).ok());
}

TEST_F(AttendStreamTest, AnAnswerToNobodyEndsTheStream) {
  server_.sessions.attend_script = [](grpc::ServerContext* context, Call* call) {
    pb::AttendRequest request;
    call->Read(&request);
    request.set_request_id(request.request_id() + 1000);
    call->Write(FakeSessionService::EchoAnswer(request));
    while (!context->IsCancelled()) std::this_thread::sleep_for(milliseconds(2));
    return grpc::Status::CANCELLED;
  };
  AttendStream stream = Open();

  EXPECT_EQ(stream.AttendOne(Item("s", 1)).status().code(), StatusCode::kInternal);
}

TEST_F(AttendStreamTest, CloseWaitsForTheAnswersAndThenRefuses) {
  Gate gate;
  server_.sessions.attend_script = [&gate](grpc::ServerContext* context, Call* call) {
    gate.Wait(context);
    pb::AttendRequest request;
    while (call->Read(&request)) call->Write(FakeSessionService::EchoAnswer(request));
    return grpc::Status::OK;
  };
  AttendStream stream = Open();
  std::vector<std::future<StatusOr<pb::AttendResponse>>> futures;
  for (uint64_t i = 0; i < 100; ++i) futures.push_back(stream.Send(Request(i, 0)));
  std::thread opener([&gate] {
    std::this_thread::sleep_for(milliseconds(50));
    gate.Open();
  });

  EXPECT_TRUE(stream.Close().ok());

  opener.join();
  for (auto& future : futures) EXPECT_TRUE(future.get().ok());
  EXPECT_FALSE(stream.AttendOne(Item("s", 1)).ok());
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(AttendStreamTest, DestructionCancelsWhatIsUnanswered) {
  NeverAnswer();
  std::future<StatusOr<pb::AttendResponse>> future;
  {
    AttendStream stream = Open();
    future = stream.Send(Request(1, 0));
  }

  ASSERT_EQ(future.wait_for(milliseconds(0)), std::future_status::ready);
  EXPECT_EQ(future.get().status().code(), StatusCode::kCancelled);
}

TEST_F(AttendStreamTest, AttendOneGivesUpAfterItsTimeout) {
  NeverAnswer();
  AttendStream stream = Open();

  const auto result = stream.AttendOne(Item("s", 1), milliseconds(30));

  EXPECT_EQ(result.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(stream.pending_count(), 1U);
}

TEST_F(AttendStreamTest, AStreamEndsAtItsDeadline) {
  NeverAnswer();
  AttendStreamOptions options;
  options.stream_timeout = milliseconds(50);
  AttendStream stream = Open(options);

  EXPECT_EQ(stream.AttendOne(Item("s", 1)).status().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(AttendStreamTest, CallbacksMaySendMore) {
  AttendStream stream = Open();
  std::latch answered(50);
  AttendStream::Callback again = [&](StatusOr<pb::AttendResponse> response) {
    const uint64_t id = response.ok() ? response->request_id() : 0;
    answered.count_down();
    if (id > 1) stream.Send(Request(id - 1, 0), again);
  };

  stream.Send(Request(50, 0), again);

  answered.wait();
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(AttendStreamTest, NobodyAtHomeIsUnavailable) {
  server_.Kill();
  ClientOptions options;
  options.connect_timeout = {};
  const auto client = Client::Connect(server_.target(), options);
  ASSERT_TRUE(client.ok());

  EXPECT_EQ(client->Attend().AttendOne(Item("s", 1)).status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace alaya::client
