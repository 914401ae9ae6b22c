#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "client/rpc_status.h"
#include "tests/client/client_fixture.h"

namespace alaya::client {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST_F(ClientTest, ConnectSaysWhereNobodyIs) {
  ClientOptions options;
  options.connect_timeout = milliseconds(100);

  const auto client = Client::Connect("unix:/nowhere/alaya.sock", options);

  EXPECT_EQ(client.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(client.status())), HasSubstr("unix:/nowhere/alaya.sock"));
}

TEST_F(ClientTest, CallsReachTheirServices) {
  const Client client = Connect();
  pb::RegisterModelRequest model;
  model.mutable_model()->set_name("m");
  pb::CreateSessionRequest session;
  session.set_model("m");

  EXPECT_TRUE(client.RegisterModel(model)->created());
  EXPECT_FALSE(client.RegisterModel(model)->created());
  EXPECT_EQ(client.ListModels()->models_size(), 1);
  EXPECT_EQ(client.GetServerInfo()->version(), "1.2.3");
  EXPECT_EQ(client.CreateSession(session)->session_id(), "session-0");
}

TEST_F(ClientTest, ErrorsKeepCodeMessageAndReason) {
  pb::GetContextRequest request;
  request.set_context_id("x");

  const auto response = Connect().GetContext(request);

  EXPECT_EQ(response.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Message(response.status()), "context 'x' does not exist");
  const auto info = ErrorInfoOf(response.status());
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "CONTEXT_NOT_FOUND");
}

TEST_F(ClientTest, AnErrorWithoutDetailsHasNoReason) {
  // The fake leaves this method out.
  const auto response = Connect().CompactStorage();

  EXPECT_EQ(response.status().code(), StatusCode::kUnimplemented);
  EXPECT_FALSE(ErrorInfoOf(response.status()).has_value());
}

TEST_F(ClientTest, ACallBeyondItsDeadlineFails) {
  server_.contexts.get_context_delay = milliseconds(300);
  const Client client = Connect();

  const auto late = client.WithCallTimeout(milliseconds(30)).GetContext({});
  const auto patient = client.GetContext({});

  EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(patient.status().code(), StatusCode::kNotFound);
}

TEST_F(ClientTest, HealthIsWhatTheServerSays) {
  const Client client = Connect();

  EXPECT_TRUE(*client.CheckServing());
  server_.SetServing(false);
  EXPECT_FALSE(*client.CheckServing());
  server_.Kill();
  EXPECT_EQ(client.CheckServing().status().code(), StatusCode::kUnavailable);
}

TEST_F(ClientTest, WaitUntilServingWaitsForReadiness) {
  const Client client = Connect();
  server_.SetServing(false);
  std::thread readiness([this] {
    std::this_thread::sleep_for(milliseconds(120));
    server_.SetServing(true);
  });

  const Status status = client.WaitUntilServing(milliseconds(10'000));

  readiness.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTest, WaitUntilServingGivesUpWithTheReason) {
  server_.SetServing(false);

  const Status status = Connect().WaitUntilServing(milliseconds(500));

  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("not ready"));
}

TEST_F(ClientTest, ClientsShareTheirConnectionAndOutliveEachOther) {
  auto first = std::make_unique<Client>(Connect());
  const Client second = *first;
  AttendStream stream = first->Attend();
  first.reset();

  EXPECT_TRUE(second.ListModels().ok());
  EXPECT_TRUE(stream.Close().ok());
}

}  // namespace
}  // namespace alaya::client
