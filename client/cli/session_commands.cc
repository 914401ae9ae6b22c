// alayactl session: create, list, close. Attend has a file of its own.

#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

constexpr int kPageSize = 1000;

struct CreateArguments {
  std::string context_id;
  std::string model;
  std::vector<uint32_t> tokens;
  std::optional<uint64_t> reuse_limit;
};

Status CreateSession(const CommandLine& line, const CreateArguments& arguments) {
  pb::CreateSessionRequest request;
  request.set_model(arguments.model);
  request.set_context_id(arguments.context_id);
  request.mutable_tokens()->Assign(arguments.tokens.begin(), arguments.tokens.end());
  if (arguments.reuse_limit.has_value()) request.set_reuse_limit(*arguments.reuse_limit);
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  if (request.model().empty() && !request.context_id().empty()) {
    pb::GetContextRequest context_request;
    context_request.set_context_id(request.context_id());
    ALAYA_ASSIGN_OR_RETURN(const auto context, client.GetContext(context_request));
    request.set_model(context.context().model());
  }
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.CreateSession(request));
  line.Print(response, "session '" + response.session_id() + "' opened with " +
                           CountText(response.reused_tokens()) + " tokens of context '" +
                           response.context_id() + "'\n");
  return OkStatus();
}

Status ListSessions(const CommandLine& line) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  pb::ListSessionsRequest request;
  request.set_page_size(kPageSize);
  pb::ListSessionsResponse all;
  do {
    ALAYA_ASSIGN_OR_RETURN(auto page, client.ListSessions(request));
    request.set_page_token(page.next_page_token());
    all.mutable_sessions()->MergeFrom(page.sessions());
  } while (!request.page_token().empty());
  Table table({"SESSION", "MODEL", "CONTEXT", ">REUSED", ">TAIL", ">TAIL MEMORY", "LAST USE"});
  for (const pb::Session& session : all.sessions()) {
    table.AddRow({session.session_id(), session.model(), session.context_id(),
                  CountText(session.reused_tokens()), CountText(session.tail_tokens()),
                  BytesText(session.tail_bytes()), TimeText(session.last_use_time().seconds())});
  }
  line.Print(all, table.Text());
  return OkStatus();
}

Status CloseSessions(const CommandLine& line, const std::vector<std::string>& session_ids) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  for (const std::string& session_id : session_ids) {
    pb::CloseSessionRequest request;
    request.set_session_id(session_id);
    ALAYA_ASSIGN_OR_RETURN(const auto response, client.CloseSession(request));
    line.Print(response, "session '" + session_id + "' closed\n");
  }
  return OkStatus();
}

void AddCreateCommand(CLI::App& session_app, CommandLine& line) {
  CLI::App& app = *session_app.add_subcommand("create", "Open a session");
  const auto arguments = std::make_shared<CreateArguments>();
  CLI::Option& context =
      *app.add_option("--context", arguments->context_id, "Reuse a prefix of this context");
  app.add_option("--model", arguments->model, "Needed with --tokens");
  app.add_option("--tokens", arguments->tokens, "Reuse the longest stored prefix of these tokens")
      ->delimiter(',')
      ->excludes(&context);
  app.add_option("--reuse-limit", arguments->reuse_limit, "Reuse at most this many tokens");
  app.footer(
      "Examples:\n"
      "  alayactl session create --context book --reuse-limit 4096\n"
      "  alayactl session create --model llama --tokens 128000,791,4320");
  app.callback([&line, arguments] {
    line.action = [&line, arguments] { return CreateSession(line, *arguments); };
  });
}

void AddCloseCommand(CLI::App& session_app, CommandLine& line) {
  CLI::App& app = *session_app.add_subcommand("close", "Close sessions; their tails are lost");
  const auto session_ids = std::make_shared<std::vector<std::string>>();
  app.add_option("session", *session_ids, "Their session_ids")->required();
  app.footer("Example:\n  alayactl session close 7 8");
  app.callback([&line, session_ids] {
    line.action = [&line, session_ids] { return CloseSessions(line, *session_ids); };
  });
}

}  // namespace

void AddSessionCommands(CLI::App& app, CommandLine& line) {
  CLI::App& session_app = *app.add_subcommand("session", "Running sequences");
  session_app.require_subcommand(1);
  AddCreateCommand(session_app, line);
  CLI::App& list_app = *session_app.add_subcommand("list", "List open sessions");
  list_app.footer("Example:\n  alayactl session list");
  list_app.callback([&line] { line.action = [&line] { return ListSessions(line); }; });
  AddAttendCommand(session_app, line);
  AddCloseCommand(session_app, line);
}

}  // namespace alaya::client
