#include "client/retry_policy.h"

#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace alaya::client {
namespace {

using RetryPolicyTest = ClientTest;

TEST_F(RetryPolicyTest, ACallThatMayRunTwiceIsRepeatedWhileTheServerIsAway) {
  server_.contexts.get_context_refusals = 2;

  const auto response = Connect().GetContext({});

  // The third answer.
  EXPECT_EQ(response.status().code(), StatusCode::kNotFound);
  EXPECT_LT(server_.contexts.get_context_refusals, 0);
}

TEST_F(RetryPolicyTest, ACallThatMayNotRunTwiceIsNotRepeated) {
  server_.sessions.create_session_refusals = 1;

  const auto response = Connect().CreateSession({});

  EXPECT_EQ(response.status().code(), StatusCode::kUnavailable);
  EXPECT_TRUE(server_.sessions.sessions().empty());
}

TEST_F(RetryPolicyTest, WhoeverWantsNoRepetitionGetsTheFirstError) {
  server_.contexts.get_context_refusals = 1;
  ClientOptions options;
  options.retry_idempotent_calls = false;

  EXPECT_EQ(Connect(options).GetContext({}).status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace alaya::client
