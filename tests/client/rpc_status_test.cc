#include "client/rpc_status.h"

#include <gtest/gtest.h>

namespace alaya::client {
namespace {

TEST(RpcStatusTest, DetailsThatDoNotParseAreLeftOut) {
  const Status status = ToStatus(grpc::Status(grpc::DATA_LOSS, "bad block", "\xFF\xFF\xFF"));

  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(Message(status), "bad block");
  EXPECT_FALSE(ErrorInfoOf(status).has_value());
}

TEST(RpcStatusTest, AnUnknownCodeIsAnError) {
  google::rpc::Status proto;
  proto.set_code(99);

  EXPECT_EQ(ToStatus(proto).code(), StatusCode::kUnknown);
}

}  // namespace
}  // namespace alaya::client
