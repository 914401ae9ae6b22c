#include "client/cli/command_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/command_line.h"

namespace alaya::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CommandTreeTest : public testing::Test {
 protected:
  CommandTreeTest() { DeclareAlayactl(app_, line_); }

  const CommandDescription& Command(const std::vector<std::string>& path) const {
    for (const CommandDescription& command : commands()) {
      if (command.path == path) return command;
    }
    ADD_FAILURE() << "no command " << testing::PrintToString(path);
    return commands().front();
  }
  const std::vector<CommandDescription>& commands() const {
    if (commands_.empty()) commands_ = DescribeCommands(app_);
    return commands_;
  }

  std::ostringstream out_;
  CommandLine line_{.out = out_, .err = out_};
  CLI::App app_{"", "alayactl"};
  mutable std::vector<CommandDescription> commands_;
};

TEST_F(CommandTreeTest, ACommandHasItsOptionsAndPositionals) {
  const CommandDescription& command = Command({"context", "import"});

  EXPECT_EQ(command.text, "Store a context from a file");
  ASSERT_EQ(command.positionals.size(), 1U);
  EXPECT_THAT(command.positionals.front().names, ElementsAre("file"));
  EXPECT_TRUE(command.positionals.front().required);
  EXPECT_THAT(command.options.front().names, ElementsAre("-h", "--help"));
  EXPECT_EQ(command.options.front().value, "");
  EXPECT_THAT(command.options.at(1).names, ElementsAre("--model"));
  EXPECT_EQ(command.options.at(1).value, "TEXT");
  EXPECT_TRUE(command.options.at(1).required);
}

TEST_F(CommandTreeTest, GroupsListTheirCommandsAndComeBeforeThem) {
  EXPECT_TRUE(commands().front().path.empty());
  EXPECT_THAT(Command({"model"}).subcommands, ElementsAre("register", "list"));
  EXPECT_LT(&Command({"model"}), &Command({"model", "register"}));
}

// Splits at blanks, as none of the examples quotes anything; up to a pipe, && or >.
std::vector<std::string> WordsOf(const std::string& example) {
  std::istringstream text(example);
  std::vector<std::string> words;
  for (std::string word; text >> word && word != "|" && word != "&&" && word != ">";) {
    words.push_back(word);
  }
  return words;
}

TEST_F(CommandTreeTest, EveryCommandShowsExamplesOfItselfThatParse) {
  for (const CommandDescription& command : commands()) {
    if (!command.subcommands.empty()) continue;
    const std::string name = testing::PrintToString(command.path);
    ASSERT_THAT(command.footer, HasSubstr("Example")) << name;
    std::istringstream lines(command.footer);
    int example_count = 0;
    for (std::string text; std::getline(lines, text);) {
      if (!text.starts_with("  alayactl ")) continue;
      ++example_count;
      std::vector<std::string> words = WordsOf(text);
      words.erase(words.begin());
      CLI::App app("", "alayactl");
      CommandLine line{.out = out_, .err = out_};
      DeclareAlayactl(app, line);
      try {
        std::ranges::reverse(words);  // what CLI11 expects
        app.parse(words);
      } catch (const CLI::ParseError& error) {
        ADD_FAILURE() << text << ": " << error.what();
      }
      const CLI::App* parsed = &app;
      for (const std::string& word : command.path) parsed = parsed->get_subcommand(word);
      EXPECT_TRUE(parsed->parsed()) << text << " is no example of " << name;
    }
    EXPECT_GT(example_count, 0) << name;
  }
}

}  // namespace
}  // namespace alaya::client
