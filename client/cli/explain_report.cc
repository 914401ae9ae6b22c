#include "client/cli/explain_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "client/cli/attention_report.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

// A share of `most` as a bar of up to 24 characters; something is never nothing.
std::string Bar(double value, double most) {
  constexpr double kWidth = 24;
  if (value <= 0 || most <= 0) return "";
  const double length = std::max(1.0, std::round(kWidth * std::min(1.0, value / most)));
  return std::string(static_cast<size_t>(length), '#');
}

std::string RangeText(const pb::SegmentPlan& plan) {
  return CountText(plan.token_begin()) + " to " +
         CountText(plan.token_begin() + plan.token_count());
}

std::string PlansText(const pb::AttendStats& stats) {
  std::string text;
  for (const pb::SegmentPlan& plan : stats.plans()) {
    text += "Tokens " + RangeText(plan) + ": " + IndexKindText(plan.index()) + ", from " +
            TierText(plan.tier()) + ", " + MicrosecondsText(plan.actual_microseconds()) +
            " (predicted " + MicrosecondsText(plan.predicted_microseconds()) + ")\n";
    if (!plan.reason().empty()) text += "  because " + plan.reason() + "\n";
    for (const pb::SegmentPlan& other : stats.rejected_plans()) {
      if (other.token_begin() != plan.token_begin()) continue;
      text += "  not " + IndexKindText(other.index());
      if (other.predicted_microseconds() > 0) {
        text += ", predicted " + MicrosecondsText(other.predicted_microseconds());
      }
      text += (other.reason().empty() ? "" : ": " + other.reason()) + "\n";
    }
  }
  return text.empty() ? "No stored segment was read: the session's own tokens only.\n" : text;
}

std::string StagesText(const pb::AttendStats& stats, double round_trip_us) {
  const double inside =
      stats.queue_microseconds() + stats.search_microseconds() + stats.attend_microseconds();
  const std::pair<std::string_view, double> stages[] = {
      {"queue", stats.queue_microseconds()},
      {"search", stats.search_microseconds()},
      {"attend", stats.attend_microseconds()},
      {"rest of the engine", std::max(0.0, stats.engine_microseconds() - inside)},
      {"wire and client", std::max(0.0, round_trip_us - stats.engine_microseconds())},
  };
  Table table({"STAGE", ">TIME", ""});
  for (const auto& [name, microseconds] : stages) {
    table.AddRow(
        {std::string(name), MicrosecondsText(microseconds), Bar(microseconds, round_trip_us)});
  }
  return table.Text();
}

std::string HeadsText(const pb::AttendStats& stats, size_t head_count, uint64_t token_count) {
  const auto all = static_cast<size_t>(stats.head_tokens_attended_size());
  if (head_count == 0 || all < head_count) return "";
  const size_t begin = all - head_count;  // the last query
  Table table({">HEAD", ">ATTENDED", ">OF ALL", "", ">MASS COVERED"});
  for (size_t head = 0; head < head_count; ++head) {
    const auto i = static_cast<int>(begin + head);
    const auto attended = static_cast<double>(stats.head_tokens_attended(i));
    const auto tokens = static_cast<double>(token_count);
    table.AddRow({std::to_string(head), CountText(stats.head_tokens_attended(i)),
                  PercentText(attended, tokens), Bar(attended, tokens),
                  i < stats.head_covered_mass_size()
                      ? FixedText(double{stats.head_covered_mass(i)}, 4)
                      : "-"});
  }
  return "\n" + table.Text();
}

}  // namespace

std::string ExplainText(const ExplainedAttention& attention) {
  const pb::Session& session = attention.session;
  const pb::AttendStats& stats = attention.result.stats();
  const auto& shape = attention.result.output().shape();
  const uint64_t queries = shape.size() == 3 ? static_cast<uint64_t>(shape[0]) : 0;
  const size_t heads = shape.size() == 3 ? static_cast<size_t>(shape[1]) : 0;
  const uint64_t tokens = session.reused_tokens() + session.tail_tokens();
  const double round_trip_us =
      std::chrono::duration<double, std::micro>(attention.round_trip).count();
  std::string text = "Layer " + std::to_string(attention.layer) + " of session '" +
                     session.session_id() + "': " + CountText(queries) +
                     (queries == 1 ? " query of " : " queries of ") + CountText(heads) +
                     " heads over " + CountText(tokens) + " tokens, " +
                     CountText(session.reused_tokens()) + " of them stored\n\n";
  text += PlansText(stats);
  const bool attended_all = stats.tokens_attended() >= queries * heads * tokens;
  text += attended_all             ? "Nothing was left out.\n\n"
          : stats.tail_estimated() ? "The rest was estimated and merged in.\n\n"
                                   : "The rest was left out.\n\n";
  return text + StagesText(stats, round_trip_us) + HeadsText(stats, heads, tokens);
}

}  // namespace alaya::client
