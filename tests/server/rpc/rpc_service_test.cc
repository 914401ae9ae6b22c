#include "server/rpc/rpc_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/rpc/rpc_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

// One that answers with a message, one that answers with a stream.
constexpr const char* kPaths[] = {"/alaya.v1.ContextService/GetContext",
                                  "/alaya.v1.ContextService/ReadContext"};

class RpcServiceTest : public RpcFixture {
 protected:
  RpcServiceTest() {
    security_.keys = &keys_;
    EXPECT_TRUE(keys_
                    .Replace({{.name = "admin",
                               .tenant = "a",
                               .role = Role::kAdmin,
                               .hash = HashKey("admin-key")}})
                    .ok());
  }

  // A call as bytes.
  struct RawCall {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream;
  };
  std::unique_ptr<RawCall> Call(const char* path, const std::string& key) {
    auto call = std::make_unique<RawCall>();
    call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    call->context.AddMetadata("authorization", "Bearer " + key);
    const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::BIDI_STREAMING);
    call->stream.reset(
        grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
            channel_.get(), method, &call->context));
    return call;
  }
  // The status of an admin's call that sends these messages.
  grpc::Status Send(const char* path, const std::vector<std::string>& messages) {
    const auto call = Call(path, "admin-key");
    for (const std::string& message : messages) {
      const grpc::Slice slice(message);
      call->stream->Write(grpc::ByteBuffer(&slice, 1));
    }
    call->stream->WritesDone();
    return call->stream->Finish();
  }

  static std::string ReasonOf(const grpc::Status& status) {
    google::rpc::Status details;
    google::rpc::ErrorInfo info;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    return details.details_size() > 0 && details.details(0).UnpackTo(&info) ? info.reason() : "";
  }

  KeyRing keys_;
};

TEST_F(RpcServiceTest, WhoHasNoKeyIsRefusedBeforeItsMessageComes) {
  for (const char* path : kPaths) {
    const grpc::Status status = Call(path, "guessed")->stream->Finish();

    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
    EXPECT_EQ(ReasonOf(status), "KEY_UNKNOWN") << path;
  }
  EXPECT_EQ(observer_.started, observer_.finished);
}

TEST_F(RpcServiceTest, ACallThatEndsWithoutAMessageIsToldSo) {
  for (const char* path : kPaths) {
    const grpc::Status status = Send(path, {});

    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << path;
    EXPECT_EQ(ReasonOf(status), "MESSAGE_MALFORMED") << path;
    EXPECT_THAT(status.error_message(), HasSubstr("Request"));
  }
}

TEST_F(RpcServiceTest, AMessageOfAnotherTypeIsToldWhichOneIsWanted) {
  const std::string no_protobuf(3, '\xff');

  const grpc::Status status = Send(kPaths[0], {no_protobuf});

  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("alaya.v1.GetContextRequest"));
}

TEST_F(RpcServiceTest, OfManyMessagesTheFirstIsAnswered) {
  v1::GetContextRequest first;
  first.set_context_id("nowhere");
  v1::GetContextRequest second;
  second.set_context_id("elsewhere");

  const grpc::Status status =
      Send(kPaths[0], {first.SerializeAsString(), second.SerializeAsString()});

  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("nowhere"));
}

TEST_F(RpcServiceTest, AMessageBeyondTheLimitIsRefused) {
  v1::GetContextRequest request;
  request.set_context_id(std::string(kMessageBytesMax + 1, 'x'));

  const grpc::Status status = Send(kPaths[0], {request.SerializeAsString()});

  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
}

TEST_F(RpcServiceTest, ACallThatIsGivenUpBeforeItsMessageLeavesNothing) {
  for (const char* path : kPaths) {
    const auto call = Call(path, "admin-key");
    call->context.TryCancel();
    EXPECT_EQ(call->stream->Finish().error_code(), grpc::StatusCode::CANCELLED) << path;
  }
  EXPECT_TRUE(server_->Drain(std::chrono::seconds(60))) << "calls are still counted";
  EXPECT_EQ(observer_.started, observer_.finished);
}

}  // namespace
}  // namespace alaya
