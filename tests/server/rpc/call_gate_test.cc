#include "server/rpc/call_gate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace alaya {
namespace {

using std::chrono::steady_clock;

TEST(CallGateTest, AClosedGateAdmitsNoCall) {
  CallGate gate;
  ASSERT_TRUE(gate.Enter().ok());
  EXPECT_FALSE(gate.closed());

  gate.Close();

  EXPECT_TRUE(gate.closed());
  EXPECT_EQ(gate.Enter(), DrainingError());
  EXPECT_EQ(DrainingError().code(), StatusCode::kUnavailable);
}

TEST(CallGateTest, ARefusedCallIsNotCounted) {
  CallGate gate;
  gate.Close();
  ASSERT_FALSE(gate.Enter().ok());

  EXPECT_TRUE(gate.WaitUntilEmpty(steady_clock::now()));
}

TEST(CallGateTest, WaitsNoLongerThanItsDeadlineForACall) {
  CallGate gate;
  ASSERT_TRUE(gate.Enter().ok());
  ASSERT_TRUE(gate.Enter().ok());
  gate.Leave();

  EXPECT_FALSE(gate.WaitUntilEmpty(steady_clock::now()));
}

TEST(CallGateTest, TheLastCallToLeaveEndsTheWait) {
  CallGate gate;
  ASSERT_TRUE(gate.Enter().ok());
  gate.Close();
  std::thread call([&gate] { gate.Leave(); });

  EXPECT_TRUE(gate.WaitUntilEmpty(steady_clock::now() + std::chrono::minutes(1)));

  call.join();
}

}  // namespace
}  // namespace alaya
