// alayactl completion, man: the program described by itself.

#include <memory>

#include "client/cli/command_tree.h"
#include "client/cli/commands.h"
#include "client/cli/completion.h"
#include "client/cli/man_page.h"

namespace alaya::client {

void AddDocumentationCommands(CLI::App& app, CommandLine& line) {
  CLI::App& completion_app = *app.add_subcommand("completion", "Print a shell's completion script");
  const auto shell = std::make_shared<std::string>();
  completion_app.add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion_app.footer(
      "Examples:\n"
      "  alayactl completion bash > /etc/bash_completion.d/alayactl\n"
      "  alayactl completion fish > ~/.config/fish/completions/alayactl.fish");
  completion_app.callback([&app, &line, shell] {
    line.action = [&app, &line, shell] {
      const Shell kind = *shell == "bash"  ? Shell::kBash
                         : *shell == "zsh" ? Shell::kZsh
                                           : Shell::kFish;
      line.out << CompletionScript(kind, DescribeCommands(app));
      return OkStatus();
    };
  });

  CLI::App& man_app = *app.add_subcommand("man", "Print the manual page");
  man_app.footer("Example:\n  alayactl man | man -l -");
  man_app.callback([&app, &line] {
    line.action = [&app, &line] {
      line.out << ManPage(DescribeCommands(app));
      return OkStatus();
    };
  });
}

}  // namespace alaya::client
