#include "client/cli/command_line.h"

#include <google/protobuf/util/json_util.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/rpc_status.h"

namespace alaya::client {
namespace {

constexpr int kExitDone = 0;
constexpr int kExitRefused = 1;
constexpr int kExitUsage = 2;
constexpr int kExitUnreachable = 3;

constexpr char kFooter[] =
    "Exit codes: 0 done, 1 refused by the server or a file, 2 wrong usage,\n"
    "            3 server unreachable, not serving or too slow\n"
    "\n"
    "Examples:\n"
    "  alayactl model register llama --layers 32 --query-heads 32 --kv-heads 8 --head-dim 128\n"
    "  alayactl context import book.npz --model llama --id book --label title=ulysses\n"
    "  alayactl --json context list | jq .contexts[].context_id\n"
    "  alayactl --server unix:/run/alayadb.sock stats\n"
    "  alayactl backup /srv/backups/monday && alayactl verify /srv/backups/monday";

void PrintError(const Status& status, const CommandLine& line) {
  const auto info = ErrorInfoOf(status);
  const std::string code = absl::StatusCodeToString(status.code());
  if (line.json) {
    nlohmann::json error = {{"code", code}, {"message", Message(status)}};
    if (info.has_value()) {
      error["reason"] = info->reason();
      error["metadata"] = std::map(info->metadata().begin(), info->metadata().end());
    }
    // Messages may quote bytes of the input that are no UTF-8.
    constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
    line.err << nlohmann::json({{"error", error}}).dump(-1, ' ', false, kReplace) << '\n';
    return;
  }
  line.err << "alayactl: " << Message(status) << " (" << code;
  if (info.has_value()) line.err << ", " << info->reason();
  line.err << ")\n";
}

int ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return kExitDone;
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    default:
      return kExitRefused;
  }
}

}  // namespace

StatusOr<Client> CommandLine::Connect() const {
  ClientOptions options;
  ALAYA_ASSIGN_OR_RETURN(options.call_timeout, ParseDuration(timeout));
  // A person waits: say early that nobody is there.
  constexpr std::chrono::milliseconds kConnectTimeoutMax{5000};
  options.connect_timeout = options.call_timeout.count() == 0
                                ? kConnectTimeoutMax
                                : std::min(options.call_timeout, kConnectTimeoutMax);
  const bool has_files =
      !tls_files.ca_file.empty() || !tls_files.cert_file.empty() || !tls_files.key_file.empty();
  // Variables may be set for TCP while this call goes through a socket of this machine.
  if ((tls || has_files) && !server.starts_with("unix:")) options.tls = tls_files;
  options.tls_server_name = tls_server_name;
  options.api_key = api_key;
  if (!api_key_file.empty()) {
    ALAYA_ASSIGN_OR_RETURN(options.api_key, ReadApiKeyFile(api_key_file));
  }
  return Client::Connect(server, options);
}

void CommandLine::Print(const google::protobuf::Message& response, const std::string& text) const {
  out << (json ? JsonText(response) + '\n' : text) << std::flush;
}

std::string JsonText(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  // Fails only on an Any of unknown type, which the API does not answer with.
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  return status.ok() ? text : "{}";
}

namespace {

void DeclareCredentials(CLI::App& app, CommandLine& line) {
  app.add_flag("--tls", line.tls, "Encrypt, and trust the system's authorities");
  app.add_option("--tls-ca", line.tls_files.ca_file,
                 "Encrypt, and trust the authorities of this PEM file")
      ->envname("ALAYA_CLIENT_TLS_CA");
  app.add_option("--tls-cert", line.tls_files.cert_file, "PEM file of the client's certificate")
      ->envname("ALAYA_CLIENT_TLS_CERT");
  app.add_option("--tls-key", line.tls_files.key_file, "PEM file of that certificate's key")
      ->envname("ALAYA_CLIENT_TLS_KEY");
  app.add_option("--tls-server-name", line.tls_server_name,
                 "Name that the server's certificate must have, if not the host of --server")
      ->envname("ALAYA_CLIENT_TLS_SERVER_NAME");
  app.add_option("--api-key", line.api_key,
                 "The API key; better in the variable, as others see the flags of a process")
      ->envname("ALAYA_CLIENT_API_KEY");
  app.add_option("--api-key-file", line.api_key_file, "File whose first line is the API key")
      ->envname("ALAYA_CLIENT_API_KEY_FILE");
}

}  // namespace

void DeclareAlayactl(CLI::App& app, CommandLine& line) {
  app.fallthrough();
  app.require_subcommand(1);
  app.add_option("--server", line.server, "host:port or unix:path of the server")
      ->envname("ALAYA_SERVER")
      ->capture_default_str();
  DeclareCredentials(app, line);
  app.add_option("--timeout", line.timeout, "Deadline of each call, for example 500ms; 0 for none")
      ->capture_default_str();
  app.add_flag("--json", line.json, "Print one line of JSON, for programs");
  AddModelCommands(app, line);
  AddKeyCommands(app, line);
  AddContextCommands(app, line);
  AddSessionCommands(app, line);
  AddExplainCommand(app, line);
  AddSearchCommand(app, line);
  AddHeatmapCommand(app, line);
  AddServerCommands(app, line);
  AddTopCommand(app, line);
  AddOfflineCommands(app, line);
  AddBenchCommand(app, line);
  AddDocumentationCommands(app, line);
  app.footer(kFooter);  // last, as commands inherit it when they are added
}

int RunAlayactl(std::vector<std::string> arguments, std::ostream& out, std::ostream& err,
                bool err_is_terminal) {
  CommandLine line{.out = out, .err = err, .err_is_terminal = err_is_terminal};
  CLI::App app("Operate an AlayaDB server: models, contexts, sessions, figures.", "alayactl");
  DeclareAlayactl(app, line);

  std::ranges::reverse(arguments);  // what CLI11 expects
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? kExitDone : kExitUsage;
  }
  const Status status = line.action();
  if (!status.ok()) PrintError(status, line);
  return ExitCodeOf(status);
}

}  // namespace alaya::client
