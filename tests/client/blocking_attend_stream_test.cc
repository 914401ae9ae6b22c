#include "client/blocking_attend_stream.h"

#include <gtest/gtest.h>

#include "client/client.h"
#include "client/tensor.h"
#include "tests/client/client_fixture.h"

namespace alaya::client {
namespace {

class BlockingAttendStreamTest : public ClientTest {
 protected:
  static pb::AttendItem Item(const std::string& session_id, float value) {
    pb::AttendItem item;
    item.set_session_id(session_id);
    const std::vector<float> query(8, value);
    *item.mutable_query() = *MakeTensor(query, 1, 1, 8);
    return item;
  }
};

TEST_F(BlockingAttendStreamTest, EachRequestGetsItsOwnAnswer) {
  BlockingAttendStream stream = Connect().AttendBlocking();

  for (int i = 0; i < 100; ++i) {
    const auto value = static_cast<float>(i);
    const auto result = stream.AttendOne(Item("s", value));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(ToFloats(result->output())->at(0), value);
  }

  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(BlockingAttendStreamTest, AnItemThatFailsLeavesTheStreamAlive) {
  BlockingAttendStream stream = Connect().AttendBlocking();

  EXPECT_EQ(stream.AttendOne(Item("unknown", 1)).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(stream.AttendOne(Item("s", 2)).ok());
}

TEST_F(BlockingAttendStreamTest, AfterCloseItRefusesRequests) {
  BlockingAttendStream stream = Connect().AttendBlocking();
  ASSERT_TRUE(stream.AttendOne(Item("s", 1)).ok());

  EXPECT_TRUE(stream.Close().ok());
  EXPECT_TRUE(stream.Close().ok());
  EXPECT_EQ(stream.AttendOne(Item("s", 2)).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(BlockingAttendStreamTest, TheErrorThatEndsTheStreamIsRepeated) {
  server_.sessions.attend_script = [](grpc::ServerContext*, FakeSessionService::AttendCall* call) {
    pb::AttendRequest request;
    call->Read(&request);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  };
  BlockingAttendStream stream = Connect().AttendBlocking();

  for (int i = 0; i < 2; ++i) {
    const Status status = stream.AttendOne(Item("s", 1)).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_EQ(Message(status), "draining");
  }
}

TEST_F(BlockingAttendStreamTest, DestructionCancelsAStreamThatNobodyClosed) {
  { BlockingAttendStream stream = Connect().AttendBlocking(); }
  BlockingAttendStream next = Connect().AttendBlocking();

  EXPECT_TRUE(next.AttendOne(Item("s", 1)).ok());
}

}  // namespace
}  // namespace alaya::client
