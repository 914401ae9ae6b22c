// alayactl heatmap: which tokens of a context each head attends to, as a picture.

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/heatmap.h"

namespace alaya::client {
namespace {

struct HeatmapArguments {
  std::string context_id;
  uint32_t layer = 0;
  double alpha = 0.001;
  std::optional<double> scale;
  size_t columns = 100;
  std::string png;
  QueryArguments queries;
};

nlohmann::json ToJson(const Heatmap& heatmap) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Heatmap::Row& row : heatmap.rows) {
    rows.push_back({{"query", row.query}, {"head", row.head}, {"shares", row.shares}});
  }
  return {{"token_count", heatmap.token_count}, {"rows", rows}};
}

Status DrawHeatmap(const CommandLine& line, const HeatmapArguments& arguments) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  pb::GetContextRequest context_request;
  context_request.set_context_id(arguments.context_id);
  ALAYA_ASSIGN_OR_RETURN(const auto context, client.GetContext(context_request));
  ALAYA_ASSIGN_OR_RETURN(const pb::Model model, FindModel(client, context.context().model()));

  pb::SearchContextRequest request;
  request.set_context_id(arguments.context_id);
  request.set_layer(arguments.layer);
  request.mutable_dipr()->set_alpha(arguments.alpha);
  const double scale =
      arguments.scale.value_or(1 / std::sqrt(static_cast<double>(model.head_dim())));
  request.set_scale(scale);
  ALAYA_ASSIGN_OR_RETURN(*request.mutable_query(), arguments.queries.Load(model));
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.SearchContext(request));

  const Heatmap heatmap = MakeHeatmap(response, model.num_query_heads(), scale,
                                      context.context().token_count(), arguments.columns);
  if (!arguments.png.empty()) ALAYA_RETURN_IF_ERROR(WriteHeatmapPng(heatmap, arguments.png));
  line.out << (line.json ? ToJson(heatmap).dump() + "\n" : HeatmapText(heatmap)) << std::flush;
  return OkStatus();
}

}  // namespace

void AddHeatmapCommand(CLI::App& app, CommandLine& line) {
  CLI::App& heatmap_app =
      *app.add_subcommand("heatmap", "A picture of which tokens each head attends to");
  const auto arguments = std::make_shared<HeatmapArguments>();
  heatmap_app.add_option("context", arguments->context_id, "Its context_id")->required();
  heatmap_app.add_option("--layer", arguments->layer, "From 0")->capture_default_str();
  heatmap_app
      .add_option("--alpha", arguments->alpha, "Least weight shown, relative to a head's largest")
      ->capture_default_str();
  heatmap_app.add_option("--scale", arguments->scale,
                         "From score to logit; default: 1 / sqrt(head_dim)");
  heatmap_app.add_option("--columns", arguments->columns, "Stretches of tokens, side by side")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  heatmap_app.add_option("--png", arguments->png, "Also write the picture to this file");
  arguments->queries.AddTo(heatmap_app);
  heatmap_app.footer(
      "Examples:\n"
      "  alayactl heatmap book --layer 3\n"
      "  alayactl heatmap book --layer 3 --queries q.npy --columns 1000 --png layer3.png");
  heatmap_app.callback([&line, arguments] {
    line.action = [&line, arguments] { return DrawHeatmap(line, *arguments); };
  });
}

}  // namespace alaya::client
