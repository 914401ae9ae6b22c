#include "server/rpc/call_access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/rpc/rpc_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

class CallAccessTest : public RpcFixture {
 protected:
  CallAccessTest() {
    security_.keys = &keys_;
    SetKeys({{.name = "reader", .tenant = "a", .role = Role::kRead, .hash = HashKey("read-key")},
             {.name = "admin", .tenant = "a", .role = Role::kAdmin, .hash = HashKey("admin-key")}});
  }
  void SetKeys(std::vector<ApiKey> keys) { ASSERT_TRUE(keys_.Replace(std::move(keys)).ok()); }

  grpc::Status ServerInfo(const std::vector<std::string>& authorizations) {
    grpc::ClientContext context;
    for (const std::string& value : authorizations) context.AddMetadata("authorization", value);
    v1::GetServerInfoResponse response;
    return admin_->GetServerInfo(&context, {}, &response);
  }
  grpc::Status Stats(const std::string& authorization) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", authorization);
    v1::GetStatsResponse response;
    return admin_->GetStats(&context, {}, &response);
  }

  static std::string ReasonOf(const grpc::Status& status) {
    google::rpc::Status details;
    google::rpc::ErrorInfo info;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    return details.details_size() == 1 && details.details(0).UnpackTo(&info) ? info.reason() : "";
  }

  KeyRing keys_;
};

TEST_F(CallAccessTest, AKeyOpensTheDoor) {
  EXPECT_TRUE(ServerInfo({"Bearer read-key"}).ok());
  EXPECT_TRUE(ServerInfo({"bearer read-key"}).ok()) << "schemes have no case";
  EXPECT_TRUE(Stats("Bearer admin-key").ok());
}

TEST_F(CallAccessTest, WithoutAGoodKeyItStaysShut) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> attempts = {
      {{}, "KEY_MISSING"},
      {{"Basic read-key"}, "KEY_MISSING"},
      {{"read-key"}, "KEY_MISSING"},
      {{"Bearer nobody"}, "KEY_UNKNOWN"},
      {{"Bearer read-key", "Bearer admin-key"}, "KEY_REPEATED"}};
  for (const auto& [authorizations, reason] : attempts) {
    const grpc::Status status = ServerInfo(authorizations);

    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(ReasonOf(status), reason);
  }
}

TEST_F(CallAccessTest, ALowRoleIsToldWhichOneIsNeeded) {
  const grpc::Status status = Stats("Bearer read-key");

  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonOf(status), "ROLE_TOO_LOW");
  EXPECT_THAT(status.error_message(), HasSubstr("GetStats needs the role admin"));
  EXPECT_THAT(status.error_message(), HasSubstr("'reader' has read"));
}

TEST_F(CallAccessTest, HealthNeedsNoKey) { EXPECT_EQ(Health(""), 1); }

TEST_F(CallAccessTest, AnAttendStreamEndsWithItsFirstRefusal) {
  grpc::ClientContext context;
  const auto stream = sessions_->Attend(&context);
  v1::AttendResponse response;

  EXPECT_FALSE(stream->Read(&response));

  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(CallAccessTest, ARevokedKeyIsRefusedOnAStreamThatRuns) {
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer read-key");
  const auto stream = sessions_->Attend(&context);
  ASSERT_TRUE(stream->Write(Request(1, {"s"})));
  ASSERT_TRUE(engine_.WaitForItems(1));
  engine_.Answer(0);
  v1::AttendResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_NE(response.results(0).status().code(), static_cast<int>(StatusCode::kUnauthenticated));

  SetKeys({{.name = "other", .tenant = "a", .role = Role::kRead, .hash = HashKey("other-key")}});
  ASSERT_TRUE(stream->Write(Request(2, {"s"})));
  ASSERT_TRUE(stream->Read(&response));

  EXPECT_EQ(response.results(0).status().code(), static_cast<int>(StatusCode::kUnauthenticated));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(CallerTest, WhoNeedsNoKeyIsTheAdminOfTenantDefault) {
  const Caller caller;

  EXPECT_EQ(caller.tenant(), "default");
  EXPECT_TRUE(caller.CheckRole(Role::kAdmin, "anything").ok());
  EXPECT_TRUE(caller.CheckStillValid().ok());
}

}  // namespace
}  // namespace alaya
