// Completion scripts for shells.
//
// All three follow the words typed so far down the tree of commands, passing over
// options and their values, and offer what that command takes.

#ifndef ALAYA_CLIENT_CLI_COMPLETION_H_
#define ALAYA_CLIENT_CLI_COMPLETION_H_

#include <span>
#include <string>

#include "client/cli/command_tree.h"

namespace alaya::client {

enum class Shell { kBash, kZsh, kFish };

// `commands` as DescribeCommands gives them.
std::string CompletionScript(Shell shell, std::span<const CommandDescription> commands);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_COMPLETION_H_
