#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

using BenchCommandTest = AlayactlTest;

TEST_F(BenchCommandTest, BenchMeasuresAndCleansUp) {
  const Outcome outcome =
      Run({"bench", "--json", "--sessions", "3", "--threads", "2", "--steps", "5", "--layers", "2",
           "--tokens", "64", "--query-heads", "4", "--kv-heads", "2", "--head-dim", "16"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto result = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(result["attends"], 3 * 5 * 2);
  EXPECT_GE(result["client_microseconds"]["p99"], result["client_microseconds"]["p50"]);
  EXPECT_EQ(result["tokens_attended"]["mean"], 640 / 4);
  EXPECT_TRUE(server_.contexts.contexts().empty());
  EXPECT_TRUE(server_.sessions.sessions().empty());
}

TEST_F(BenchCommandTest, BenchCleansUpAfterAFailure) {
  server_.sessions.attend_script = [](grpc::ServerContext*, FakeSessionService::AttendCall*) {
    return grpc::Status(grpc::INTERNAL, "broken");
  };

  const Outcome outcome = Run({"bench", "--tokens", "64", "--layers", "1", "--head-dim", "16"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("broken"));
  EXPECT_TRUE(server_.contexts.contexts().empty());
  EXPECT_TRUE(server_.sessions.sessions().empty());
}

}  // namespace
}  // namespace alaya::client
