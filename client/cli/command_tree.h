// The commands of alayactl as data, read off the CLI11 application: what completion and
// the manual page are made of.

#ifndef ALAYA_CLIENT_CLI_COMMAND_TREE_H_
#define ALAYA_CLIENT_CLI_COMMAND_TREE_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace alaya::client {

struct OptionDescription {
  std::vector<std::string> names{};  // "-h", "--help"; of a positional its name
  std::string value{};               // "UINT=0"; empty: a flag
  std::string text{};
  bool required = false;
};

struct CommandDescription {
  std::vector<std::string> path{};  // {"context", "import"}; the program itself: empty
  std::string text{};
  std::string footer{};  // notes and examples
  std::vector<OptionDescription> positionals{};
  std::vector<OptionDescription> options{};
  std::vector<std::string> subcommands{};
};

// The program, then each command before its subcommands.
std::vector<CommandDescription> DescribeCommands(const CLI::App& app);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_COMMAND_TREE_H_
