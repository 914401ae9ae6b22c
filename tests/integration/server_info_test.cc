// What a server says about itself: limits, devices, statistics, health, reflection.

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using testing::HasSubstr;

class ServerInfoTest : public ServiceTest {
 protected:
  void SetUp() override { StartServer(); }

  // Sends one serialized ServerReflectionRequest; returns the serialized response.
  std::string Reflect(const std::string& request) {
    grpc::GenericStub stub(
        grpc::CreateChannel(server().grpc_address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareCall(
        &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
    const auto finished = [&] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    call->StartCall(nullptr);
    EXPECT_TRUE(finished());
    const grpc::Slice slice(request);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    EXPECT_TRUE(finished());
    grpc::ByteBuffer response;
    call->Read(&response, nullptr);
    EXPECT_TRUE(finished());
    context.TryCancel();
    grpc::Status status;
    call->Finish(&status, nullptr);
    EXPECT_TRUE(finished());
    grpc::Slice bytes;
    EXPECT_TRUE(response.DumpToSingleSlice(&bytes).ok());
    return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
  }

  const KvSequence sequence_{MakeModel("test/info"), 500, /*seed=*/95};
};

TEST_F(ServerInfoTest, InfoNamesVersionLimitsAndDevices) {
  ASSERT_OK_AND_ASSIGN(const auto info, client().GetServerInfo());

  EXPECT_THAT(info.version(), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+.*"));
  EXPECT_FALSE(info.build().empty());
  EXPECT_GT(info.start_time().seconds(), 1'600'000'000);
  EXPECT_GE(info.limits().max_context_tokens(), 1'000'000);
  EXPECT_GE(info.limits().max_message_bytes(), 4 << 20);
  EXPECT_GE(info.limits().max_items_per_request(), 1);
  EXPECT_GE(info.limits().max_queries_per_item(), 1);
  EXPECT_GE(info.limits().max_sessions(), 1);
  EXPECT_GE(info.limits().max_requests_in_flight_per_stream(), 1);
  EXPECT_EQ(info.limits().session_idle_timeout().seconds(), 3600);
  EXPECT_EQ(info.limits().max_streams(), 65'536);
  EXPECT_EQ(info.limits().max_attend_items_in_flight(), 16'384);
  EXPECT_EQ(info.limits().max_bytes_in_flight(), uint64_t{1} << 30);
  EXPECT_EQ(info.limits().max_requests_per_second(), 0);
  EXPECT_EQ(info.tenant_limits().max_attend_items_in_flight(), 8'192);
  EXPECT_EQ(info.tenant_limits().max_sessions(), 0);
  ASSERT_GE(info.devices_size(), 1);
  EXPECT_EQ(info.devices(0).name(), "cpu");
  EXPECT_FALSE(info.devices(0).description().empty());
}

TEST_F(ServerInfoTest, StatisticsFollowWhatIsStoredAndOpen) {
  ASSERT_OK_AND_ASSIGN(const ServerState empty, ReadServerState(client()));
  ASSERT_OK(RegisterModel(client(), sequence_.model()));
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK(OpenSession(client(), "context"));
  ASSERT_OK_AND_ASSIGN(const ServerState state, ReadServerState(client()));
  ASSERT_OK_AND_ASSIGN(const auto stats, client().GetStats());

  EXPECT_EQ(empty, ServerState());
  EXPECT_EQ(state, (ServerState{.models = 1,
                                .contexts = 1,
                                .segments = 1,
                                .stored_tokens = 500,
                                .sessions = 1,
                                .tail_bytes = state.tail_bytes}));
  EXPECT_GT(stats.uptime_seconds(), 0);
  EXPECT_GT(stats.process_resident_bytes(), 1 << 20);
  EXPECT_THAT(stats.tiers(), testing::SizeIs(testing::Ge(2)));
}

TEST_F(ServerInfoTest, HealthSaysServing) {
  ASSERT_OK_AND_ASSIGN(const bool serving, client().CheckServing());
  EXPECT_TRUE(serving);
}

TEST_F(ServerInfoTest, ReflectionListsTheServicesAndTheirFiles) {
  // Field 7, list_services; field 4, file_containing_symbol.
  const std::string services = Reflect("\x3a\x01*");
  const std::string symbol = "alaya.v1.SessionService";
  const std::string file = Reflect(std::string("\x22") + static_cast<char>(symbol.size()) + symbol);

  for (const char* name : {"alaya.v1.ContextService", "alaya.v1.SessionService",
                           "alaya.v1.AdminService", "grpc.health.v1.Health"}) {
    EXPECT_THAT(services, HasSubstr(name));
  }
  EXPECT_THAT(file, HasSubstr("AttendRequest"));
}

TEST_F(ServerInfoTest, TheLogLevelChangesAtRunTime) {
  pb::SetLogLevelRequest request;
  request.set_level(pb::LOG_LEVEL_ERROR);
  ASSERT_OK_AND_ASSIGN(const auto first, client().SetLogLevel(request));
  ASSERT_OK_AND_ASSIGN(const auto second, client().SetLogLevel(request));

  EXPECT_NE(first.previous_level(), pb::LOG_LEVEL_UNSPECIFIED);
  EXPECT_EQ(second.previous_level(), pb::LOG_LEVEL_ERROR);
}

TEST_F(ServerInfoTest, OrdinaryWorkLogsNoWarning) {
  ASSERT_OK(RegisterModel(client(), sequence_.model()));
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK(Delete(client(), "context"));
  ASSERT_OK(server().Terminate());
  std::string log = server().Log();
  StartServer();
  log += server().Log();

  EXPECT_THAT(log, HasSubstr("serving"));
  for (const char* level : {" warning ", " error ", "\"warning\"", "\"error\""}) {
    EXPECT_THAT(log, testing::Not(HasSubstr(level)));
  }
}

TEST_F(ServerInfoTest, DroppingTheLastClientDoesNotWait) {
  const std::string address = server().grpc_address();
  DropClient();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 8; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto only_client, client::Client::Connect(address));
    ASSERT_OK(only_client.GetServerInfo());
  }

  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

class UnixSocketTest : public ServiceTest {};

TEST_F(UnixSocketTest, AUnixSocketServesLikeTcp) {
  set_grpc_listen("unix:" + (directory() / "socket"));
  StartServer();
  const KvSequence sequence(MakeModel("test/unix"), 300, /*seed=*/96);
  ASSERT_OK(RegisterModel(client(), sequence.model()));
  ASSERT_OK(Import(client(), sequence, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend();
  const pb::AttendItem item = sequence.Ask(session, 0, 0);

  ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

  EXPECT_TRUE(AnswersItem(sequence, {300, 300}, item, result));
  EXPECT_OK(CheckStoredBytes(client(), "context", sequence));
}

}  // namespace
}  // namespace alaya
