// The command groups of alayactl. Each adds its subcommands to `app`; a subcommand that
// is parsed leaves what to do in `line.action`. `line` must outlive `app`.

#ifndef ALAYA_CLIENT_CLI_COMMANDS_H_
#define ALAYA_CLIENT_CLI_COMMANDS_H_

#include <CLI/App.hpp>

#include "client/cli/command_line.h"

namespace alaya::client {

void AddKeyCommands(CLI::App& app, CommandLine& line);
void AddModelCommands(CLI::App& app, CommandLine& line);
void AddContextCommands(CLI::App& app, CommandLine& line);
void AddContextImportCommand(CLI::App& context_app, CommandLine& line);
void AddSessionCommands(CLI::App& app, CommandLine& line);
void AddAttendCommand(CLI::App& session_app, CommandLine& line);
void AddExplainCommand(CLI::App& app, CommandLine& line);
void AddSearchCommand(CLI::App& app, CommandLine& line);
void AddHeatmapCommand(CLI::App& app, CommandLine& line);
void AddServerCommands(CLI::App& app, CommandLine& line);
void AddOfflineCommands(CLI::App& app, CommandLine& line);
void AddBenchCommand(CLI::App& app, CommandLine& line);
void AddTopCommand(CLI::App& app, CommandLine& line);
// `app` must be the whole program, and outlive the command.
void AddDocumentationCommands(CLI::App& app, CommandLine& line);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_COMMANDS_H_
