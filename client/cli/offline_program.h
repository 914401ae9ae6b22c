// Runs the program alayadb-offline, which works on stores that no server has open.

#ifndef ALAYA_CLIENT_CLI_OFFLINE_PROGRAM_H_
#define ALAYA_CLIENT_CLI_OFFLINE_PROGRAM_H_

#include <functional>
#include <string>
#include <vector>

#include "storage/types/status.h"

namespace alaya::client {

// Runs it with these arguments and calls `take_line` for every line that it prints; it
// lies beside this program, in a build tree in ../server/, or in PATH.
// Errors: NotFound if there is no such program; Internal if it was killed.
Status RunOfflineProgram(const std::vector<std::string>& arguments,
                         const std::function<void(const std::string& line)>& take_line);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_OFFLINE_PROGRAM_H_
