// alayactl top: tiers and sessions, live.

#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/top_report.h"

namespace alaya::client {
namespace {

struct TopArguments {
  std::string interval = "2s";
  uint64_t count = 0;
  size_t sessions = 20;
};

StatusOr<TopSample> TakeSample(const Client& client) {
  TopSample sample;
  sample.time = std::chrono::steady_clock::now();
  ALAYA_ASSIGN_OR_RETURN(sample.stats, client.GetStats());
  sample.round_trip = std::chrono::steady_clock::now() - sample.time;
  pb::ListSessionsRequest request;
  constexpr int kPageSize = 1000;
  request.set_page_size(kPageSize);
  do {
    ALAYA_ASSIGN_OR_RETURN(const auto page, client.ListSessions(request));
    request.set_page_token(page.next_page_token());
    sample.sessions.insert(sample.sessions.end(), page.sessions().begin(), page.sessions().end());
  } while (!request.page_token().empty());
  return sample;
}

Status Top(const CommandLine& line, const TopArguments& arguments) {
  ALAYA_ASSIGN_OR_RETURN(const auto interval, ParseDuration(arguments.interval));
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  // To the upper left corner, and nothing left below.
  constexpr char kClearScreen[] = "\x1b[H\x1b[2J";
  std::optional<TopSample> before;
  for (uint64_t shown = 0; arguments.count == 0 || shown < arguments.count; ++shown) {
    if (shown > 0) std::this_thread::sleep_for(interval);
    ALAYA_ASSIGN_OR_RETURN(TopSample now, TakeSample(client));
    const std::string text = TopText(now, before, arguments.sessions);
    line.Print(now.stats, (line.err_is_terminal ? kClearScreen : "") + text);
    before = std::move(now);
  }
  return OkStatus();
}

}  // namespace

void AddTopCommand(CLI::App& app, CommandLine& line) {
  CLI::App& top_app =
      *app.add_subcommand("top", "Tiers, latency and sessions, live; Ctrl-C ends it");
  const auto arguments = std::make_shared<TopArguments>();
  top_app.add_option("--interval", arguments->interval, "Time between two looks")
      ->capture_default_str();
  top_app.add_option("--count", arguments->count, "Looks; 0: until interrupted")
      ->capture_default_str();
  top_app.add_option("--sessions", arguments->sessions, "Sessions shown, those used last")
      ->capture_default_str();
  top_app.footer(
      "Rates are per second since the look before.\n"
      "\n"
      "Examples:\n"
      "  alayactl top\n"
      "  alayactl top --interval 10s --count 6 --json");
  top_app.callback(
      [&line, arguments] { line.action = [&line, arguments] { return Top(line, *arguments); }; });
}

}  // namespace alaya::client
