#include "client/cli/command_tree.h"

#include <utility>

namespace alaya::client {
namespace {

OptionDescription Describe(const CLI::Option& option) {
  OptionDescription description{.text = option.get_description(),
                                .required = option.get_required()};
  if (option.get_positional()) {
    description.names = {option.get_name(/*positional=*/true)};
  } else {
    for (const std::string& name : option.get_snames()) description.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) description.names.push_back("--" + name);
  }
  if (option.get_type_size_max() > 0) {
    description.value = option.get_type_name();
    if (!option.get_default_str().empty()) description.value += "=" + option.get_default_str();
  }
  return description;
}

void Append(const CLI::App& app, const std::vector<std::string>& path,
            std::vector<CommandDescription>& commands) {
  CommandDescription command{
      .path = path, .text = app.get_description(), .footer = app.get_footer()};
  for (const CLI::Option* option : app.get_options()) {
    auto& list = option->get_positional() ? command.positionals : command.options;
    list.push_back(Describe(*option));
  }
  const std::vector<const CLI::App*> children =
      app.get_subcommands([](const CLI::App* /*child*/) { return true; });
  for (const CLI::App* child : children) command.subcommands.push_back(child->get_name());
  commands.push_back(std::move(command));
  for (const CLI::App* child : children) {
    std::vector<std::string> child_path = path;
    child_path.push_back(child->get_name());
    Append(*child, child_path, commands);
  }
}

}  // namespace

std::vector<CommandDescription> DescribeCommands(const CLI::App& app) {
  std::vector<CommandDescription> commands;
  Append(app, {}, commands);
  return commands;
}

}  // namespace alaya::client
