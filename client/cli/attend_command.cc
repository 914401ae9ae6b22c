// alayactl session attend, explain: one attention, with what it did and what it cost.

#include <fstream>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/attention_report.h"
#include "client/cli/commands.h"
#include "client/cli/explain_report.h"
#include "client/cli/terminal.h"
#include "client/files/npy_header.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

struct AttendArguments {
  std::string session_id;
  uint32_t layer = 0;
  bool explain = false;
  std::string output_file;
  AttentionArguments attention;
  QueryArguments queries;
};

// The output as float32, for numpy.load.
Status WriteOutput(const pb::Tensor& output, const std::string& path) {
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> elements, ToFloats(output));
  const std::vector<uint64_t> shape(output.shape().begin(), output.shape().end());
  std::ofstream file(path, std::ios::binary);
  file << MakeNpyHeader(shape);
  const auto bytes = AsBytes(elements);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file.good() ? OkStatus() : InvalidArgument("cannot write " + path);
}

// Asks the server once; with what the report of an explanation needs.
StatusOr<ExplainedAttention> AskServer(const CommandLine& line, const AttendArguments& arguments) {
  pb::AttendItem item;
  item.set_session_id(arguments.session_id);
  item.set_layer(arguments.layer);
  ALAYA_ASSIGN_OR_RETURN(*item.mutable_options(), arguments.attention.ToProto());
  item.mutable_options()->set_explain(arguments.explain);
  ALAYA_ASSIGN_OR_RETURN(const auto timeout, ParseDuration(line.timeout));
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  pb::GetSessionRequest session_request;
  session_request.set_session_id(arguments.session_id);
  ALAYA_ASSIGN_OR_RETURN(auto session, client.GetSession(session_request));
  ALAYA_ASSIGN_OR_RETURN(const pb::Model model, FindModel(client, session.session().model()));
  ALAYA_ASSIGN_OR_RETURN(*item.mutable_query(), arguments.queries.Load(model));

  AttendStream stream = client.Attend();
  const auto start = std::chrono::steady_clock::now();
  ALAYA_ASSIGN_OR_RETURN(pb::AttendResult result, stream.AttendOne(std::move(item), timeout));
  const auto round_trip = std::chrono::steady_clock::now() - start;
  ALAYA_RETURN_IF_ERROR(stream.Close());
  return ExplainedAttention{.session = std::move(*session.mutable_session()),
                            .layer = arguments.layer,
                            .result = std::move(result),
                            .round_trip = round_trip};
}

Status Attend(const CommandLine& line, const AttendArguments& arguments) {
  ALAYA_ASSIGN_OR_RETURN(const ExplainedAttention answer, AskServer(line, arguments));
  const pb::AttendResult& result = answer.result;
  const std::chrono::duration<double, std::micro> elapsed = answer.round_trip;
  if (!arguments.output_file.empty()) {
    ALAYA_RETURN_IF_ERROR(WriteOutput(result.output(), arguments.output_file));
  }
  ALAYA_ASSIGN_OR_RETURN(const std::string output_text, OutputText(result));
  line.Print(result, output_text + "\n" + StatsText(result.stats()) +
                         FieldsText({{"Round trip", MicrosecondsText(elapsed.count())}}));
  return OkStatus();
}

Status Explain(const CommandLine& line, const AttendArguments& arguments) {
  ALAYA_ASSIGN_OR_RETURN(const ExplainedAttention answer, AskServer(line, arguments));
  line.Print(answer.result, ExplainText(answer));
  return OkStatus();
}

}  // namespace

void AddExplainCommand(CLI::App& app, CommandLine& line) {
  CLI::App& explain_app = *app.add_subcommand("explain", "How one attention is answered, and why");
  const auto arguments = std::make_shared<AttendArguments>();
  arguments->explain = true;
  explain_app.add_option("session", arguments->session_id, "Its session_id")->required();
  explain_app.add_option("--layer", arguments->layer, "From 0")->capture_default_str();
  arguments->queries.AddTo(explain_app);
  arguments->attention.AddTo(explain_app);
  explain_app.footer(
      "Examples:\n"
      "  alayactl explain 7 --layer 3\n"
      "  alayactl explain 7 --queries q.npy --target dipr --alpha 0.05");
  explain_app.callback([&line, arguments] {
    line.action = [&line, arguments] { return Explain(line, *arguments); };
  });
}

void AddAttendCommand(CLI::App& session_app, CommandLine& line) {
  CLI::App& app = *session_app.add_subcommand("attend", "Attention of queries over a session");
  const auto arguments = std::make_shared<AttendArguments>();
  app.add_option("session", arguments->session_id, "Its session_id")->required();
  app.add_option("--layer", arguments->layer, "From 0")->capture_default_str();
  app.add_flag("--explain", arguments->explain, "Show the plans considered and detail per head");
  app.add_option("--output", arguments->output_file, "Write the output there, .npy of float32");
  arguments->queries.AddTo(app);
  arguments->attention.AddTo(app);
  app.footer(
      "Examples:\n"
      "  alayactl session attend 7 --layer 3 --explain\n"
      "  alayactl session attend 7 --queries q.npy --target top_k --k 64 --output o.npy");
  app.callback([&line, arguments] {
    line.action = [&line, arguments] { return Attend(line, *arguments); };
  });
}

}  // namespace alaya::client
