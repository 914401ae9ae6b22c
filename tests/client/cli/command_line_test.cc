#include "client/cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

using CommandLineTest = AlayactlTest;

TEST_F(CommandLineTest, HelpNamesEveryCommandAndExitsWithZero) {
  const Outcome outcome = Run({"--help"});

  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* command : {"model", "context", "session", "search", "info", "stats", "health",
                              "backup", "compact", "log-level", "bench"}) {
    EXPECT_THAT(outcome.out, HasSubstr(std::string("\n  ") + command)) << command;
  }
}

TEST_F(CommandLineTest, WrongUsageExitsWithTwo) {
  EXPECT_EQ(Run({}).exit_code, 2);
  EXPECT_EQ(Run({"fly"}).exit_code, 2);
  EXPECT_EQ(Run({"model", "register", "m"}).exit_code, 2);
  EXPECT_EQ(Run({"log-level", "loud"}).exit_code, 2);
  EXPECT_EQ(Run({"stats", "--unknown"}).exit_code, 2);
}

TEST_F(CommandLineTest, ARefusalExitsWithOneAndSaysWhy) {
  const Outcome outcome = Run({"context", "show", "x"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "alayactl: context 'x' does not exist (NOT_FOUND, CONTEXT_NOT_FOUND)\n");
}

TEST_F(CommandLineTest, ErrorsAreJsonWithJson) {
  const auto error = nlohmann::json::parse(Run({"--json", "context", "show", "x"}).err)["error"];

  EXPECT_EQ(error["code"], "NOT_FOUND");
  EXPECT_EQ(error["reason"], "CONTEXT_NOT_FOUND");
}

TEST_F(CommandLineTest, AnUnreachableServerExitsWithThree) {
  server_.Kill();

  EXPECT_EQ(Run({"--timeout", "50ms", "stats"}).exit_code, 3);
  EXPECT_EQ(Run({"--timeout", "50ms", "health"}).exit_code, 3);
}

}  // namespace
}  // namespace alaya::client
