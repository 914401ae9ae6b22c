// The program itself: what only a process of its own shows.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/run_program.h"

namespace alaya::client {
namespace {

TEST(AlayactlTest, ExitCodesReachTheShell) {
  EXPECT_EQ(RunProgram(std::string(ALAYACTL_PATH) + " --help").exit_code, 0);
  EXPECT_EQ(RunProgram(std::string(ALAYACTL_PATH) + " fly").exit_code, 2);
}

TEST(AlayactlTest, TheServerComesFromTheEnvironment) {
  const ProgramOutcome outcome = RunProgram("ALAYA_SERVER=unix:/nowhere/alaya.sock " +
                                            std::string(ALAYACTL_PATH) + " --timeout 50ms stats");

  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.output, testing::HasSubstr("unix:/nowhere/alaya.sock"));
}

}  // namespace
}  // namespace alaya::client
