// What all commands of alayactl share: where the server is, how results are printed,
// how errors become exit codes.
//
// Exit codes: 0 done | 1 the server or a file refused | 2 wrong usage | 3 the server is
// unreachable, does not serve or did not answer in time.

#ifndef ALAYA_CLIENT_CLI_COMMAND_LINE_H_
#define ALAYA_CLIENT_CLI_COMMAND_LINE_H_

#include <google/protobuf/message.h>

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "client/client.h"
#include "storage/types/status.h"

namespace CLI {
class App;
}  // namespace CLI

namespace alaya::client {

// Global options, and the command that was chosen.
struct CommandLine {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;

  std::string server = "127.0.0.1:50600";
  std::string timeout = "60s";
  bool tls = false;  // any of the files says so, too
  TlsOptions tls_files = {};
  std::string tls_server_name = {};
  std::string api_key_file = {};
  std::string api_key = {};
  bool json = false;
  // Set by the subcommand that was parsed.
  std::function<Status()> action{};

  StatusOr<Client> Connect() const;
  // Prints a response: as JSON with --json, else `text`.
  void Print(const google::protobuf::Message& response, const std::string& text) const;
};

// Proto3's JSON mapping with the fields' own names, one line; 64-bit numbers are strings.
std::string JsonText(const google::protobuf::Message& message);

// Adds every option and command. `line` must outlive `app`.
void DeclareAlayactl(CLI::App& app, CommandLine& line);

// The whole program. `arguments` without the program's name.
int RunAlayactl(std::vector<std::string> arguments, std::ostream& out, std::ostream& err,
                bool err_is_terminal);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_COMMAND_LINE_H_
