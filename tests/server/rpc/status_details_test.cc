#include "server/rpc/status_details.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <set>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "server/engine/quota_error.h"

namespace alaya {
namespace {

// The ErrorInfo that an error carries, as a client reads it.
google::rpc::ErrorInfo InfoOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(status.details_size() > 0 && status.details(0).UnpackTo(&info));
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

TEST(StatusDetailsTest, ALimitThatIsUsedUpSaysWhoseItIsAndWhenToTryAgain) {
  struct Case {
    Status status;
    std::string subject;
    std::string description;
    int64_t retry_seconds;
  };
  for (const Case& c :
       {Case{QuotaError({.subject = "tenant:a",
       .description = "why",
       .retry_after = std::chrono::milliseconds(2'000)}),
             "tenant:a", "why", 2},
        Case{ResourceExhausted("the disk is full"), "server", "the disk is full", 5}}) {
    google::rpc::Status proto;
    ToProto(c.status, &proto);

    EXPECT_EQ(InfoOf(proto).reason(), "QUOTA_EXCEEDED");
    google::rpc::QuotaFailure failure;
    google::rpc::RetryInfo retry;
    ASSERT_EQ(proto.details_size(), 3);
    ASSERT_TRUE(proto.details(1).UnpackTo(&failure));
    ASSERT_TRUE(proto.details(2).UnpackTo(&retry));
    ASSERT_EQ(failure.violations_size(), 1);
    EXPECT_EQ(failure.violations(0).subject(), c.subject);
    EXPECT_EQ(failure.violations(0).description(), c.description);
    EXPECT_EQ(retry.retry_delay().seconds(), c.retry_seconds);
  }
}

TEST(StatusDetailsTest, WhatWaitingDoesNotHelpSaysNoTime) {
  google::rpc::Status of_session;
  ToProto(QuotaError({.subject = "session", .description = "why"}), &of_session);
  EXPECT_EQ(of_session.details_size(), 2);

  google::rpc::Status of_request;
  ToProto(RequestLimitError({"query"}, "9 tokens"), &of_request);
  EXPECT_EQ(of_request.code(), static_cast<int>(StatusCode::kResourceExhausted));
  EXPECT_EQ(of_request.message(), "query: 9 tokens");
  EXPECT_EQ(of_request.details_size(), 1);
  EXPECT_EQ(InfoOf(of_request).reason(), "LIMIT_REACHED");
  EXPECT_EQ(InfoOf(of_request).metadata().at("field"), "query");
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
