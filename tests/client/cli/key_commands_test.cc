#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/command_line.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

struct Outcome {
  int exit_code;
  std::string out;
};

Outcome RunCommand(const std::vector<std::string>& arguments) {
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = RunAlayactl(arguments, out, err, /*err_is_terminal=*/false);
  return {exit_code, out.str()};
}

TEST(KeyCommandsTest, AKeyAndItsLineAreShown) {
  const Outcome outcome =
      RunCommand({"--json", "key", "generate", "engine-1", "--tenant", "team-a", "--role", "read"});

  ASSERT_EQ(outcome.exit_code, 0);
  const auto made = nlohmann::json::parse(outcome.out);
  EXPECT_THAT(made["key"].get<std::string>(), MatchesRegex("alaya_[A-Za-z0-9_-]{43}"));
  EXPECT_THAT(made["line"].get<std::string>(),
              MatchesRegex("engine-1 team-a read sha256:[0-9a-f]{64}"));
  EXPECT_THAT(RunCommand({"key", "generate", "x"}).out, HasSubstr("x default write sha256:"));
}

TEST(KeyCommandsTest, NoTwoKeysAreTheSame) {
  EXPECT_NE(RunCommand({"--json", "key", "generate", "x"}).out,
            RunCommand({"--json", "key", "generate", "x"}).out);
}

TEST(KeyCommandsTest, BadNamesAndRolesAreRefused) {
  EXPECT_EQ(RunCommand({"key", "generate", "a b"}).exit_code, 2);
  EXPECT_EQ(RunCommand({"key", "generate", "a", "--tenant", "a/b"}).exit_code, 2);
  EXPECT_EQ(RunCommand({"key", "generate", "a", "--role", "root"}).exit_code, 2);
  EXPECT_EQ(RunCommand({"key", "generate"}).exit_code, 2);
}

}  // namespace
}  // namespace alaya::client
