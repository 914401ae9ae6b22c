// Each shell runs its script and says what it would complete.

#include "client/cli/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <sstream>
#include <string>

#include "client/cli/command_line.h"
#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::Not;

class CompletionTest : public testing::Test {
 protected:
  // The script's path.
  std::string Write(Shell shell) {
    std::ostringstream out;
    CommandLine line{.out = out, .err = out};
    CLI::App app("", "alayactl");
    DeclareAlayactl(app, line);
    return directory_.Write("completion", CompletionScript(shell, DescribeCommands(app)));
  }

  // What a command prints, errors included.
  static std::string Output(const std::string& command) {
    std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    std::string output;
    std::array<char, 4096> buffer{};
    while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) output += buffer.data();
    output += pclose(pipe) == 0 ? "" : "FAILED";
    return output;
  }

  static bool Has(const std::string& program) {
    return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
  }

  TemporaryDirectory directory_;
};

TEST_F(CompletionTest, BashCompletesCommandsAndOptions) {
  const std::string script = Write(Shell::kBash);
  const auto complete = [&](const std::string& words, int position) {
    return Output("bash -uc 'complete() { :; }; . " + script + "; COMP_WORDS=(" + words +
                  "); COMP_CWORD=" + std::to_string(position) +
                  "; _alayactl; echo ${COMPREPLY[*]-}'");
  };

  EXPECT_EQ(complete("alayactl conte", 1), "context\n");
  EXPECT_EQ(complete("alayactl context im", 2), "import\n");
  EXPECT_EQ(complete("alayactl --server host:1 context im", 4), "import\n");
  EXPECT_EQ(complete("alayactl context import --mo", 3), "--model\n");
  EXPECT_EQ(complete("alayactl context import --js", 3), "--json\n");
  EXPECT_EQ(complete("alayactl context nothing", 2), "\n");
}

TEST_F(CompletionTest, ZshCompletesCommandsAndOptions) {
  if (!Has("zsh")) GTEST_SKIP() << "zsh is not installed";
  const std::string script = Write(Shell::kZsh);
  const auto complete = [&](const std::string& words, int position) {
    return Output("zsh -fc 'compdef() { :; }; . " + script +
                  "; _describe() { print -l -- ${(P)2}; }; words=(" + words +
                  "); CURRENT=" + std::to_string(position) + "; _alayactl'");
  };

  EXPECT_THAT(complete("alayactl conte", 2), HasSubstr("context:Stored contexts\n"));
  EXPECT_THAT(complete("alayactl context im", 3),
              HasSubstr("import:Store a context from a file\n"));
  EXPECT_THAT(complete("alayactl context im", 3), Not(HasSubstr("register")));
  EXPECT_THAT(complete("alayactl context import --", 4), HasSubstr("--model:"));
}

TEST_F(CompletionTest, FishCompletesCommandsAndOptions) {
  if (!Has("fish")) GTEST_SKIP() << "fish is not installed";
  const std::string script = Write(Shell::kFish);
  const auto complete = [&](const std::string& line) {
    return Output("HOME=" + directory_.Path(".") + " fish --no-config -c 'source " + script +
                  "; complete -C \"" + line + "\"'");
  };

  EXPECT_EQ(complete("alayactl conte"), "context\tStored contexts\n");
  EXPECT_EQ(complete("alayactl --json context im"), "import\tStore a context from a file\n");
  EXPECT_THAT(complete("alayactl context import --mo"), HasSubstr("--model\tName of"));
  EXPECT_THAT(complete("alayactl model li"), HasSubstr("list"));
}

}  // namespace
}  // namespace alaya::client
