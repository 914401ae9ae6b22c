// What keeps a server from being used up by its clients: leases, time-outs of connections,
// limits on what is under way.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "alaya/v1/session_service.grpc.pb.h"
#include "tests/fault/hostile_clients.h"
#include "tests/fault/raw_connection.h"
#include "tests/fault/recovery_check.h"
#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kStoredTokens = 400;

class LimitsTest : public ServiceTest {
 protected:
  void Start(const std::vector<std::string>& arguments) {
    StartServer(arguments);
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
    ASSERT_OK(Import(client(), known_.Branch(kStoredTokens, kStoredTokens, 0), "known"));
  }
  double Metric(const std::string& name) {
    const auto value = ReadMetric(server(), name);
    EXPECT_OK(value);
    return value.value_or(-1);
  }
  bool BecomesZero(const std::string& name) {
    for (int i = 0; i < 1000 && Metric(name) != 0; ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    return Metric(name) == 0;
  }

  const pb::Model model_ =
      MakeModel("fault/limits", {.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 64});
  const KvSequence known_{model_, kStoredTokens + 1000, /*seed=*/78};
};

TEST_F(LimitsTest, AnUnusedSessionEndsAndItsOwnerLearnsWhy) {
  Start({"--session-idle-timeout", "1500ms", "--expiry-sweep-interval", "20ms"});
  ASSERT_OK_AND_ASSIGN(const std::string unused, OpenSession(client(), "known"));
  ASSERT_OK_AND_ASSIGN(const std::string used, OpenSession(client(), "known"));
  client::AttendStream stream = client().Attend();
  ASSERT_OK(stream.AttendOne(known_.AskAndAppend(unused, 0, kStoredTokens)));
  for (size_t i = 0; i < 8; ++i) {
    ASSERT_OK(stream.AttendOne(known_.AskAndAppend(used, 0, kStoredTokens + i)));
    std::this_thread::sleep_for(milliseconds(300));
  }

  const auto late = stream.AttendOne(known_.Ask(unused, 0, kStoredTokens));

  EXPECT_EQ(late.status().code(), StatusCode::kNotFound) << late.status();
  EXPECT_THAT(late.status().ToString(), testing::HasSubstr("session_idle_timeout"));
  EXPECT_OK(CloseSession(client(), used));
  EXPECT_EQ(Metric("alaya_sessions_expired_total"), 1);
  EXPECT_EQ(Metric("alaya_tail_bytes"), 0);
}

TEST_F(LimitsTest, ConnectionsThatDoNotBeginAreClosed) {
  Start({"--handshake-timeout", "300ms"});
  RawConnection silent(server().grpc_address());
  RawConnection slow(server().grpc_address());
  const std::string words = Http2Preface();
  bool slow_is_open = true;
  for (size_t i = 0; i + 1 < words.size() && slow_is_open; ++i) {
    slow.Send(words.substr(i, 1));
    slow_is_open = !slow.WaitUntilClosed(milliseconds(50));
  }

  EXPECT_FALSE(slow_is_open);
  EXPECT_TRUE(silent.WaitUntilClosed(milliseconds(5000)));
  EXPECT_OK(client().GetServerInfo());
}

TEST_F(LimitsTest, OldConnectionsAreReplacedWithoutAFailedCall) {
  Start({"--max-connection-age", "150ms", "--max-connection-age-grace", "5s"});
  RawConnection idle(server().grpc_address());
  idle.Send(Http2Preface());
  const auto end = Clock::now() + milliseconds(1200);
  while (Clock::now() < end) ASSERT_OK(client().GetServerInfo());

  const std::string received = idle.Receive(milliseconds(300));
  const std::string go_away = Http2Frame(FrameType::kGoAway, 0, 0, "").substr(3, 1);
  EXPECT_NE(received.find(go_away), std::string::npos);
}

// More bytes are sent than may be under way: what is too much is refused, and nothing of
// it is kept.
TEST_F(LimitsTest, BytesUnderWayAreBounded) {
  Start({"--max-bytes-in-flight", "1MiB", "--worker-threads", "1"});
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "known"));
  // 256 KiB of queries each, and as much of answers.
  const pb::AttendItem item = known_.Ask(session, 0, 0, 512);
  client::AttendStream stream = client().Attend({.requests_in_flight_max = 64});
  std::vector<std::future<StatusOr<pb::AttendResponse>>> answers;
  for (int i = 0; i < 64; ++i) {
    pb::AttendRequest request;
    *request.add_items() = item;
    answers.push_back(stream.Send(std::move(request)));
  }

  int ok_count = 0;
  int refused_count = 0;
  for (auto& answer : answers) {
    ASSERT_OK_AND_ASSIGN(const pb::AttendResponse response, answer.get());
    const auto code = static_cast<StatusCode>(response.results(0).status().code());
    if (code == StatusCode::kOk) ++ok_count;
    if (code != StatusCode::kResourceExhausted) continue;
    ++refused_count;
    EXPECT_THAT(response.results(0).status().message(), testing::HasSubstr("max_bytes_in_flight"));
  }
  EXPECT_GT(ok_count, 0);
  EXPECT_GT(refused_count, 0);
  EXPECT_EQ(ok_count + refused_count, 64);
  EXPECT_TRUE(BecomesZero("alaya_in_flight_bytes"));
  EXPECT_OK(stream.AttendOne(item));
}

TEST_F(LimitsTest, ItemsThatWaitAreBounded) {
  Start({"--max-attend-items-in-flight", "16", "--worker-threads", "1"});
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "known"));
  pb::AttendRequest request;
  for (int i = 0; i < 200; ++i) *request.add_items() = known_.Ask(session, 0, 0, 64);
  client::AttendStream stream = client().Attend();

  ASSERT_OK_AND_ASSIGN(const pb::AttendResponse response, stream.Send(request).get());

  int refused_count = 0;
  for (const pb::AttendResult& result : response.results()) {
    if (result.status().code() == 0) continue;
    ++refused_count;
    EXPECT_THAT(result.status().message(), testing::HasSubstr("max_attend_items_in_flight"));
  }
  EXPECT_GT(refused_count, 0);
  EXPECT_LT(refused_count, 200 - 15);
  EXPECT_OK(stream.AttendOne(known_.Ask(session, 0, 0)));
}

TEST_F(LimitsTest, TenThousandIdleStreamsHinderNobody) {
  Start({"--memory-budget", "16MiB"});  // the server touches all of it meanwhile
  constexpr size_t kStreams = 10'000;
  constexpr uint64_t kStreamBytesMax = uint64_t{64} << 10;
  ASSERT_OK_AND_ASSIGN(const ProcessMemory before, server().Memory());
  auto connections = OpenIdleStreams(server().grpc_address(), kStreams, 1000);
  for (int i = 0; i < 2000 && Metric("alaya_calls_in_flight") < kStreams; ++i) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(Metric("alaya_calls_in_flight"), kStreams);

  ASSERT_OK_AND_ASSIGN(const ProcessMemory during, server().Memory());
  EXPECT_LT(during.resident_bytes - before.resident_bytes, kStreams * kStreamBytesMax);
  EXPECT_OK(CheckStoredBytes(client(), "known", known_.Branch(kStoredTokens, kStoredTokens, 0)));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "known"));
  client::AttendStream stream = client().Attend();
  EXPECT_OK(stream.AttendOne(known_.AskAndAppend(session, 0, kStoredTokens)));
  ASSERT_OK(stream.Close());
  ASSERT_OK(CloseSession(client(), session));
  connections.clear();
  EXPECT_TRUE(BecomesZero("alaya_calls_in_flight"));
}

}  // namespace
}  // namespace alaya
