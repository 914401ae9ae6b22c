#include "server/rpc/status_details.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "google/rpc/error_details.pb.h"

namespace alaya {
namespace {

// The ErrorInfo that an error carries, as a client reads it.
google::rpc::ErrorInfo InfoOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  EXPECT_EQ(status.details_size(), 1);
  EXPECT_TRUE(status.details_size() == 1 && status.details(0).UnpackTo(&info));
  return info;
}

TEST(StatusDetailsTest, ARequestErrorNamesItsFieldAndReason) {
  const Status status = RequestError("TENSOR_SHAPE", {"key", "items", 3}, "is empty");

  google::rpc::Status proto;
  ToProto(status, &proto);

  EXPECT_EQ(proto.code(), static_cast<int>(StatusCode::kInvalidArgument));
  EXPECT_EQ(proto.message(), "items[3].key: is empty");
  const google::rpc::ErrorInfo info = InfoOf(proto);
  EXPECT_EQ(info.domain(), "alayadb");
  EXPECT_EQ(info.reason(), "TENSOR_SHAPE");
  EXPECT_EQ(info.metadata().at("field"), "items[3].key");
}

TEST(StatusDetailsTest, EveryOtherErrorHasTheReasonOfItsCode) {
  std::set<std::string> reasons;
  for (const StatusCode code :
       {StatusCode::kCancelled, StatusCode::kInvalidArgument, StatusCode::kDeadlineExceeded,
        StatusCode::kNotFound, StatusCode::kAlreadyExists, StatusCode::kResourceExhausted,
        StatusCode::kFailedPrecondition, StatusCode::kOutOfRange, StatusCode::kUnimplemented,
        StatusCode::kInternal, StatusCode::kUnavailable, StatusCode::kDataLoss}) {
    google::rpc::Status proto;
    ToProto(MakeError(code, "why"), &proto);

    EXPECT_EQ(proto.code(), static_cast<int>(code));
    EXPECT_EQ(proto.message(), "why");
    const google::rpc::ErrorInfo info = InfoOf(proto);
    EXPECT_EQ(info.domain(), "alayadb");
    EXPECT_TRUE(reasons.insert(info.reason()).second) << info.reason();
  }
}

TEST(StatusDetailsTest, AWholeCallCarriesTheSameAsAnItem) {
  const Status status = RequestError("PAGE_SIZE", {"page_size"}, "-1");
  google::rpc::Status item;
  ToProto(status, &item);

  const grpc::Status call = ToGrpcStatus(status);

  EXPECT_EQ(call.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(call.error_message(), "page_size: -1");
  EXPECT_EQ(call.error_details(), item.SerializeAsString());
}

TEST(StatusDetailsTest, SuccessHasNoDetails) {
  google::rpc::Status proto;
  ToProto(OkStatus(), &proto);

  EXPECT_EQ(proto.ByteSizeLong(), 0U);
  EXPECT_TRUE(ToGrpcStatus(OkStatus()).ok());
  EXPECT_TRUE(ToGrpcStatus(OkStatus()).error_details().empty());
}

}  // namespace
}  // namespace alaya
