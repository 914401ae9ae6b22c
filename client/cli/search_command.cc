// alayactl search: which tokens of a context score highest for query vectors.

#include <algorithm>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/attention_report.h"
#include "client/cli/commands.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

struct SearchArguments {
  std::string context_id;
  uint32_t layer = 0;
  std::string target = "top_k";
  double alpha = 0.012;
  uint32_t k = 10;
  std::string range;
  int show = 5;
  QueryArguments queries;
};

std::string HeadsText(const pb::SearchContextResponse& response, uint32_t num_query_heads,
                      int show) {
  Table table({">QUERY", ">HEAD", ">FOUND", "TOKEN:SCORE, THE BEST FIRST"});
  for (int i = 0; i < response.heads_size(); ++i) {
    const pb::SearchContextResponse::Head& head = response.heads(i);
    std::string best;
    const int found = std::min(head.tokens_size(), head.scores_size());
    for (int hit = 0; hit < std::min(found, show); ++hit) {
      best += (hit == 0 ? "" : "  ") + std::to_string(head.tokens(hit)) + ":" +
              FixedText(double{head.scores(hit)}, 3);
    }
    const auto row = static_cast<uint32_t>(i);
    table.AddRow({std::to_string(row / num_query_heads), std::to_string(row % num_query_heads),
                  CountText(static_cast<uint64_t>(found)), best});
  }
  return table.Text();
}

Status Search(const CommandLine& line, const SearchArguments& arguments) {
  pb::SearchContextRequest request;
  request.set_context_id(arguments.context_id);
  request.set_layer(arguments.layer);
  if (arguments.target == "dipr") {
    request.mutable_dipr()->set_alpha(arguments.alpha);
  } else {
    request.mutable_top_k()->set_k(arguments.k);
  }
  if (!arguments.range.empty()) {
    ALAYA_ASSIGN_OR_RETURN(*request.mutable_token_range(), ParseTokenRange(arguments.range));
  }
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  pb::GetContextRequest context_request;
  context_request.set_context_id(arguments.context_id);
  ALAYA_ASSIGN_OR_RETURN(const auto context, client.GetContext(context_request));
  ALAYA_ASSIGN_OR_RETURN(const pb::Model model, FindModel(client, context.context().model()));
  ALAYA_ASSIGN_OR_RETURN(*request.mutable_query(), arguments.queries.Load(model));
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.SearchContext(request));
  line.Print(response,
             HeadsText(response, std::max<uint32_t>(model.num_query_heads(), 1), arguments.show) +
                 "\n" + StatsText(response.stats()));
  return OkStatus();
}

}  // namespace

void AddSearchCommand(CLI::App& app, CommandLine& line) {
  CLI::App& search_app = *app.add_subcommand("search", "Tokens that score highest for queries");
  const auto arguments = std::make_shared<SearchArguments>();
  search_app.add_option("context", arguments->context_id, "Its context_id")->required();
  search_app.add_option("--layer", arguments->layer, "From 0")->capture_default_str();
  search_app.add_option("--target", arguments->target, "top_k or dipr")
      ->check(CLI::IsMember({"top_k", "dipr"}))
      ->capture_default_str();
  search_app.add_option("--k", arguments->k, "top_k: tokens per query head")->capture_default_str();
  search_app.add_option("--alpha", arguments->alpha, "dipr: least weight relative to the largest")
      ->capture_default_str();
  search_app.add_option("--range", arguments->range, "Only tokens begin:end");
  search_app.add_option("--show", arguments->show, "Tokens printed per head")
      ->capture_default_str();
  arguments->queries.AddTo(search_app);
  search_app.footer(
      "Examples:\n"
      "  alayactl search book --layer 3 --k 8\n"
      "  alayactl search book --target dipr --alpha 0.01 --queries q.npy --range 0:4096");
  search_app.callback([&line, arguments] {
    line.action = [&line, arguments] { return Search(line, *arguments); };
  });
}

}  // namespace alaya::client
