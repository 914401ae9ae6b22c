// What the log says of calls: failures and slow ones, with the caller's trace.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <string>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using testing::ContainsRegex;
using testing::Not;

constexpr char kTrace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

class CallLogTest : public ServiceTest {
 protected:
  std::shared_ptr<grpc::Channel> Channel() {
    return grpc::CreateChannel(server().grpc_address(), grpc::InsecureChannelCredentials());
  }

  grpc::Status DeleteUnknown() {
    grpc::ClientContext call;
    call.AddMetadata("traceparent", kTrace);
    v1::DeleteContextRequest request;
    request.set_context_id("unknown");
    v1::DeleteContextResponse response;
    return v1::ContextService::NewStub(Channel())->DeleteContext(&call, request, &response);
  }

  grpc::Status Backup() {
    grpc::ClientContext call;
    call.AddMetadata("traceparent", kTrace);
    v1::CreateBackupRequest request;
    request.set_directory(directory() / "backup");
    v1::CreateBackupResponse response;
    return v1::AdminService::NewStub(Channel())->CreateBackup(&call, request, &response);
  }
};

TEST_F(CallLogTest, AFailureNamesItsCallersTrace) {
  StartServer({"--log-level", "debug"});

  EXPECT_EQ(DeleteUnknown().error_code(), grpc::StatusCode::NOT_FOUND);

  EXPECT_THAT(server().Log(), ContainsRegex("debug call method=DeleteContext code=NOT_FOUND "
                                            "message=[^\n]*unknown[^\n]* traceparent=" +
                                            std::string(kTrace)));
}

TEST_F(CallLogTest, ASlowCallIsAWarningWithItsCallersTrace) {
  // A backup syncs files: it takes longer than that.
  StartServer({"--slow-call", "1ms"});

  ASSERT_TRUE(Backup().ok());

  EXPECT_THAT(server().Log(), ContainsRegex("warning slow_call method=CreateBackup code=OK "
                                            "[^\n]*microseconds=[0-9]+ traceparent=" +
                                            std::string(kTrace)));
}

TEST_F(CallLogTest, QuickCallsAndCallersFaultsAreNotLogged) {
  StartServer({"--slow-call", "1h"});

  EXPECT_EQ(DeleteUnknown().error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Backup().ok());

  EXPECT_THAT(server().Log(), Not(ContainsRegex("DeleteContext|CreateBackup")));
}

}  // namespace
}  // namespace alaya
