// alayactl info, stats, health, backup, compact, log-level: the server as a whole.

#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/cli/arguments.h"
#include "client/cli/attention_report.h"
#include "client/cli/commands.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

constexpr std::array<std::pair<const char*, pb::LogLevel>, 5> kLogLevels = {{
    {"trace", pb::LOG_LEVEL_TRACE},
    {"debug", pb::LOG_LEVEL_DEBUG},
    {"info", pb::LOG_LEVEL_INFO},
    {"warning", pb::LOG_LEVEL_WARNING},
    {"error", pb::LOG_LEVEL_ERROR},
}};

Status Info(const CommandLine& line) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.GetServerInfo());
  const pb::Limits& limits = response.limits();
  std::string text = FieldsText({
      {"Version", response.version()},
      {"Build", response.build()},
      {"Started", TimeText(response.start_time().seconds())},
      {"Tokens per context", CountText(limits.max_context_tokens())},
      {"Bytes per message", BytesText(limits.max_message_bytes())},
      {"Items per request", CountText(limits.max_items_per_request())},
      {"Queries per item", CountText(limits.max_queries_per_item())},
      {"Sessions", CountText(limits.max_sessions())},
      {"Requests in flight per stream", CountText(limits.max_requests_in_flight_per_stream())},
      {"Tail tokens per session", CountText(limits.max_tail_tokens_per_session())},
      {"Tail bytes of all sessions", BytesText(limits.max_tail_bytes_total())},
  });
  Table devices({"DEVICE", "DESCRIPTION", ">MEMORY BUDGET"});
  for (const pb::Device& device : response.devices()) {
    devices.AddRow({device.name(), device.description(), BytesText(device.memory_budget_bytes())});
  }
  line.Print(response, text + "\n" + devices.Text());
  return OkStatus();
}

// Who takes how much of the disk; nothing without contexts.
std::string UsageText(const pb::GetStatsResponse& stats) {
  Table usage({"STORED BY", ">CONTEXTS", ">SIZE"});
  for (const pb::ModelUsage& model : stats.model_usage()) {
    usage.AddRow(
        {"model " + model.model(), CountText(model.contexts()), BytesText(model.stored_bytes())});
  }
  for (const pb::LabelUsage& label : stats.label_usage()) {
    usage.AddRow({"label " + label.key() + "=" + label.value(), CountText(label.contexts()),
                  BytesText(label.stored_bytes())});
  }
  if (usage.row_count() == 0) return "";
  const uint64_t left_out = stats.label_usage_left_out();
  return "\n" + usage.Text() +
         (left_out == 0 ? "" : "and " + CountText(left_out) + " labels that take less\n");
}

std::string StatsText(const pb::GetStatsResponse& stats) {
  std::string text = FieldsText({
      {"Up", SecondsText(stats.uptime_seconds())},
      {"Resident memory", BytesText(stats.process_resident_bytes())},
      {"Models", CountText(stats.models())},
      {"Contexts", CountText(stats.contexts())},
      {"Segments", CountText(stats.segments())},
      {"Stored tokens", CountText(stats.stored_tokens())},
      {"Sessions", CountText(stats.sessions())},
      {"Session tails", BytesText(stats.tail_bytes())},
      {"Prefix lookups", CountText(stats.lookup_tokens()) + " tokens, " +
                             PercentText(static_cast<double>(stats.hit_tokens()),
                                         static_cast<double>(stats.lookup_tokens())) +
                             " found"},
  });
  Table tiers(
      {"TIER", ">USED", ">CAPACITY", ">PINNED", ">HITS", ">MISSES", ">HIT RATE", ">EVICTIONS"});
  for (const pb::TierStats& tier : stats.tiers()) {
    tiers.AddRow({TierText(tier.tier()), BytesText(tier.used_bytes()),
                  tier.capacity_bytes() == 0 ? "unlimited" : BytesText(tier.capacity_bytes()),
                  BytesText(tier.pinned_bytes()), CountText(tier.hits()), CountText(tier.misses()),
                  PercentText(static_cast<double>(tier.hits()),
                              static_cast<double>(tier.hits() + tier.misses())),
                  CountText(tier.evictions())});
  }
  text += "\n" + tiers.Text() + UsageText(stats);
  if (stats.indexes().empty()) return text;
  Table indexes({"INDEX", ">SEGMENTS", ">SIZE"});
  for (const pb::IndexStats& index : stats.indexes()) {
    indexes.AddRow(
        {IndexKindText(index.kind()), CountText(index.segments()), BytesText(index.bytes())});
  }
  return text + "\n" + indexes.Text();
}

Status Stats(const CommandLine& line) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.GetStats());
  line.Print(response, StatsText(response));
  return OkStatus();
}

Status Health(const CommandLine& line, const std::string& wait) {
  ALAYA_ASSIGN_OR_RETURN(const auto wait_time, ParseDuration(wait));
  ClientOptions options;
  ALAYA_ASSIGN_OR_RETURN(options.call_timeout, ParseDuration(line.timeout));
  options.connect_timeout = {};
  ALAYA_ASSIGN_OR_RETURN(const Client client, Client::Connect(line.server, options));
  if (wait_time.count() > 0) ALAYA_RETURN_IF_ERROR(client.WaitUntilServing(wait_time));
  ALAYA_ASSIGN_OR_RETURN(const bool serving, client.CheckServing());
  if (!serving) return Unavailable("the server does not accept work: it starts or drains");
  line.out << (line.json ? nlohmann::json({{"serving", true}}).dump() : "serving") << '\n';
  return OkStatus();
}

Status Backup(const CommandLine& line, const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  pb::CreateBackupRequest request;
  request.set_directory(directory);
  // As long as it takes: the size of the data decides.
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.WithCallTimeout({}).CreateBackup(request));
  line.Print(response, BytesText(response.bytes()) + " copied to " + directory +
                           " on the server's machine\n");
  return OkStatus();
}

Status Compact(const CommandLine& line) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.WithCallTimeout({}).CompactStorage());
  line.Print(response, BytesText(response.freed_bytes()) + " freed\n");
  return OkStatus();
}

std::string LogLevelText(pb::LogLevel level) {
  for (const auto& [name, value] : kLogLevels) {
    if (value == level) return name;
  }
  return "unknown";
}

Status SetLogLevel(const CommandLine& line, const std::string& level) {
  pb::SetLogLevelRequest request;
  for (const auto& [name, value] : kLogLevels) {
    if (level == name) request.set_level(value);
  }
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.SetLogLevel(request));
  line.Print(response,
             "log level " + level + ", was " + LogLevelText(response.previous_level()) + "\n");
  return OkStatus();
}

}  // namespace

void AddServerCommands(CLI::App& app, CommandLine& line) {
  CLI::App& info_app = *app.add_subcommand("info", "Version, limits and devices of the server");
  info_app.footer("Example:\n  alayactl info");
  info_app.callback([&line] { line.action = [&line] { return Info(line); }; });

  CLI::App& stats_app = *app.add_subcommand("stats", "What is stored, and how the tiers serve it");
  stats_app.footer("Examples:\n  alayactl stats\n  alayactl --json stats | jq .tiers");
  stats_app.callback([&line] { line.action = [&line] { return Stats(line); }; });

  CLI::App& health_app = *app.add_subcommand("health", "Exit code 0 if the server accepts work");
  const auto wait = std::make_shared<std::string>("0");
  health_app.add_option("--wait", *wait, "Wait this long for it, for example 30s");
  health_app.footer("Examples:\n  alayactl health\n  alayactl health --wait 30s");
  health_app.callback(
      [&line, wait] { line.action = [&line, wait] { return Health(line, *wait); }; });

  CLI::App& backup_app = *app.add_subcommand("backup", "Copy all contexts, while the server runs");
  const auto directory = std::make_shared<std::string>();
  backup_app.add_option("directory", *directory, "A new directory on the server's machine")
      ->required();
  backup_app.footer("Example:\n  alayactl backup /srv/backups/monday");
  backup_app.callback([&line, directory] {
    line.action = [&line, directory] { return Backup(line, *directory); };
  });

  CLI::App& compact_app = *app.add_subcommand("compact", "Free the space of deleted contexts now");
  compact_app.footer("Example:\n  alayactl compact");
  compact_app.callback([&line] { line.action = [&line] { return Compact(line); }; });

  CLI::App& log_app = *app.add_subcommand("log-level", "Change what the server logs");
  const auto level = std::make_shared<std::string>();
  log_app.add_option("level", *level, "trace, debug, info, warning or error")
      ->required()
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}));
  log_app.footer("Example:\n  alayactl log-level debug");
  log_app.callback(
      [&line, level] { line.action = [&line, level] { return SetLogLevel(line, *level); }; });
}

}  // namespace alaya::client
