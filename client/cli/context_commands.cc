// alayactl context: list, show, update, delete. Import has a file of its own.

#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

constexpr int kPageSize = 1000;

std::string ExpiryText(const pb::Context& context) {
  if (context.pinned()) return "pinned";
  return context.has_expire_time() ? TimeText(context.expire_time().seconds()) : "never";
}

std::string ContextText(const pb::Context& context) {
  return FieldsText({{"Context", context.context_id()},
                     {"Model", context.model()},
                     {"Tokens", CountText(context.token_count())},
                     {"Segments", CountText(context.segment_count())},
                     {"KV", BytesText(context.stored_bytes())},
                     {"Created", TimeText(context.create_time().seconds())},
                     {"Expires", ExpiryText(context)},
                     {"Labels", LabelsText(context.labels())}});
}

struct ListArguments {
  std::string model;
  std::vector<std::string> labels;
};

Status ListContexts(const CommandLine& line, const ListArguments& arguments) {
  pb::ListContextsRequest request;
  if (!arguments.model.empty()) request.set_model(arguments.model);
  ALAYA_ASSIGN_OR_RETURN(const auto labels, ParseLabels(arguments.labels));
  request.mutable_labels()->insert(labels.begin(), labels.end());
  request.set_page_size(kPageSize);
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  pb::ListContextsResponse all;
  do {
    ALAYA_ASSIGN_OR_RETURN(auto page, client.ListContexts(request));
    request.set_page_token(page.next_page_token());
    all.mutable_contexts()->MergeFrom(page.contexts());
  } while (!request.page_token().empty());
  Table table({"CONTEXT", "MODEL", ">TOKENS", ">KV", "CREATED", "EXPIRES", "LABELS"});
  for (const pb::Context& context : all.contexts()) {
    table.AddRow({context.context_id(), context.model(), CountText(context.token_count()),
                  BytesText(context.stored_bytes()), TimeText(context.create_time().seconds()),
                  ExpiryText(context), LabelsText(context.labels())});
  }
  line.Print(all, table.Text());
  return OkStatus();
}

Status ShowContext(const CommandLine& line, const pb::GetContextRequest& request) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.GetContext(request));
  std::string text = ContextText(response.context());
  for (int i = 0; i < response.tokens_size(); ++i) {
    constexpr int kTokensPerLine = 12;
    text += std::to_string(response.tokens(i));
    text +=
        i % kTokensPerLine == kTokensPerLine - 1 || i + 1 == response.tokens_size() ? '\n' : ' ';
  }
  line.Print(response, text);
  return OkStatus();
}

Status DeleteContexts(const CommandLine& line, const std::vector<std::string>& context_ids) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  for (const std::string& context_id : context_ids) {
    pb::DeleteContextRequest request;
    request.set_context_id(context_id);
    ALAYA_ASSIGN_OR_RETURN(const auto response, client.DeleteContext(request));
    line.Print(response, "context '" + context_id + "' deleted, " +
                             BytesText(response.freed_bytes()) + " no longer needed\n");
  }
  return OkStatus();
}

struct UpdateArguments {
  std::string context_id;
  std::optional<bool> pinned;
  std::optional<std::string> ttl;
  std::vector<std::string> labels;
  bool clear_labels = false;
};

Status UpdateContext(const CommandLine& line, const UpdateArguments& arguments) {
  pb::UpdateContextRequest request;
  request.set_context_id(arguments.context_id);
  if (arguments.pinned.has_value()) request.set_pinned(*arguments.pinned);
  if (arguments.ttl.has_value()) {
    ALAYA_ASSIGN_OR_RETURN(const auto ttl, ParseDuration(*arguments.ttl));
    *request.mutable_ttl() = ToProto(ttl);
  }
  if (!arguments.labels.empty() || arguments.clear_labels) {
    ALAYA_ASSIGN_OR_RETURN(const auto labels, ParseLabels(arguments.labels));
    request.mutable_labels()->mutable_labels()->insert(labels.begin(), labels.end());
  }
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.UpdateContext(request));
  line.Print(response, ContextText(response.context()));
  return OkStatus();
}

void AddListCommand(CLI::App& context_app, CommandLine& line) {
  CLI::App& app = *context_app.add_subcommand("list", "List contexts, the newest first");
  const auto arguments = std::make_shared<ListArguments>();
  app.add_option("--model", arguments->model, "Only contexts of this model");
  app.add_option("--label", arguments->labels, "Only contexts with this name=value; repeatable")
      ->allow_extra_args(false);
  app.footer("Examples:\n  alayactl context list\n  alayactl context list --label team=search");
  app.callback([&line, arguments] {
    line.action = [&line, arguments] { return ListContexts(line, *arguments); };
  });
}

void AddShowCommand(CLI::App& context_app, CommandLine& line) {
  CLI::App& app = *context_app.add_subcommand("show", "Show one context");
  const auto request = std::make_shared<pb::GetContextRequest>();
  app.add_option_function<std::string>(
         "context", [request](const std::string& id) { request->set_context_id(id); },
         "Its context_id")
      ->required();
  app.add_flag_callback(
      "--tokens", [request] { request->set_include_tokens(true); }, "Print the tokens too");
  app.footer("Example:\n  alayactl context show book");
  app.callback(
      [&line, request] { line.action = [&line, request] { return ShowContext(line, *request); }; });
}

void AddDeleteCommand(CLI::App& context_app, CommandLine& line) {
  CLI::App& app = *context_app.add_subcommand("delete", "Delete contexts");
  const auto context_ids = std::make_shared<std::vector<std::string>>();
  app.add_option("context", *context_ids, "Their context_ids")->required();
  app.footer("Example:\n  alayactl context delete book draft");
  app.callback([&line, context_ids] {
    line.action = [&line, context_ids] { return DeleteContexts(line, *context_ids); };
  });
}

void AddUpdateCommand(CLI::App& context_app, CommandLine& line) {
  CLI::App& app = *context_app.add_subcommand("update", "Change pin, expiry or labels");
  const auto arguments = std::make_shared<UpdateArguments>();
  app.add_option("context", arguments->context_id, "Its context_id")->required();
  app.add_flag("--pin,!--unpin", arguments->pinned, "A pinned context does not expire");
  app.add_option("--ttl", arguments->ttl, "Expire after, for example 12h; 0 removes the expiry");
  app.add_option("--label", arguments->labels, "name=value; all labels are replaced; repeatable")
      ->allow_extra_args(false);
  app.add_flag("--clear-labels", arguments->clear_labels, "Remove the labels");
  app.footer("Example:\n  alayactl context update book --unpin --ttl 12h");
  app.callback([&line, arguments] {
    line.action = [&line, arguments] { return UpdateContext(line, *arguments); };
  });
}

}  // namespace

void AddContextCommands(CLI::App& app, CommandLine& line) {
  CLI::App& context_app = *app.add_subcommand("context", "Stored contexts");
  context_app.require_subcommand(1);
  AddContextImportCommand(context_app, line);
  AddListCommand(context_app, line);
  AddShowCommand(context_app, line);
  AddUpdateCommand(context_app, line);
  AddDeleteCommand(context_app, line);
}

}  // namespace alaya::client
