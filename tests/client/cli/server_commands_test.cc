#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using ServerCommandsTest = AlayactlTest;

TEST_F(ServerCommandsTest, StatsAreReadableAndJson) {
  EXPECT_THAT(Run({"stats"}).out,
              AllOf(HasSubstr("memory"), HasSubstr("3.0 GiB"), HasSubstr("75.0 %")));
  EXPECT_EQ(nlohmann::json::parse(Run({"stats", "--json"}).out)["tiers"][0]["hits"], "3");
  EXPECT_THAT(Run({"stats"}).out, AllOf(HasSubstr("model m"), HasSubstr("5.0 MiB"),
                                        HasSubstr("label team=x"), HasSubstr("7 labels")));
  EXPECT_THAT(Run({"info"}).out, HasSubstr("1.2.3"));
}

TEST_F(ServerCommandsTest, HealthFollowsTheServer) {
  EXPECT_EQ(Run({"health"}).out, "serving\n");
  server_.SetServing(false);
  EXPECT_EQ(Run({"health"}).exit_code, 3);
}

TEST_F(ServerCommandsTest, LogLevelTellsThePreviousOne) {
  EXPECT_EQ(Run({"log-level", "debug"}).out, "log level debug, was info\n");
}

}  // namespace
}  // namespace alaya::client
