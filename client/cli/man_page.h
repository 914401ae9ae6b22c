// The manual page of alayactl, in the roff of man(7).

#ifndef ALAYA_CLIENT_CLI_MAN_PAGE_H_
#define ALAYA_CLIENT_CLI_MAN_PAGE_H_

#include <span>
#include <string>

#include "client/cli/command_tree.h"

namespace alaya::client {

// `commands` as DescribeCommands gives them.
std::string ManPage(std::span<const CommandDescription> commands);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_MAN_PAGE_H_
