#include "client/cli/attention_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "client/cli/terminal.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

// "DTYPE_X" without its prefix, in lower case.
std::string EnumText(const std::string& name, std::string_view prefix) {
  std::string text = name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

struct Spread {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;
  size_t count = 0;

  void Add(double value) {
    min = std::min(min, value);
    max = std::max(max, value);
    sum += value;
    ++count;
  }
  double mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
};

template <typename Values>
std::string SpreadText(const Values& values, int decimal_count) {
  Spread spread;
  for (const auto value : values) spread.Add(static_cast<double>(value));
  return "mean " + FixedText(spread.mean(), decimal_count) + ", min " +
         FixedText(spread.min, decimal_count) + ", max " + FixedText(spread.max, decimal_count);
}

void AddPlans(const google::protobuf::RepeatedPtrField<pb::SegmentPlan>& plans, bool chosen,
              Table& table) {
  for (const pb::SegmentPlan& plan : plans) {
    table.AddRow(
        {chosen ? "chosen" : "rejected",
         std::to_string(plan.token_begin()) + ":" +
             std::to_string(plan.token_begin() + plan.token_count()),
         IndexKindText(plan.index()), chosen ? TierText(plan.tier()) : "-",
         MicrosecondsText(plan.predicted_microseconds()),
         plan.actual_microseconds() > 0 ? MicrosecondsText(plan.actual_microseconds()) : "-",
         plan.reason()});
  }
}

double Norm(std::span<const float> elements) {
  double sum = 0;
  for (const float element : elements) sum += double{element} * double{element};
  return std::sqrt(sum);
}

}  // namespace

std::string TierText(pb::Tier tier) { return EnumText(pb::Tier_Name(tier), "TIER_"); }

std::string IndexKindText(pb::IndexKind kind) {
  return EnumText(pb::IndexKind_Name(kind), "INDEX_KIND_");
}

std::string StatsText(const pb::AttendStats& stats) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Tokens scored", CountText(stats.tokens_scored())},
      {"Tokens attended", CountText(stats.tokens_attended())},
      {"Rest estimated", stats.tail_estimated() ? "yes" : "no"},
      {"Served from", TierText(stats.tier())},
      {"Queue", MicrosecondsText(stats.queue_microseconds())},
      {"Search", MicrosecondsText(stats.search_microseconds())},
      {"Attend", MicrosecondsText(stats.attend_microseconds())},
      {"Engine", MicrosecondsText(stats.engine_microseconds())},
  };
  if (stats.head_tokens_attended_size() > 0) {
    fields.emplace_back("Attended per head", SpreadText(stats.head_tokens_attended(), 0));
  }
  if (stats.head_covered_mass_size() > 0) {
    fields.emplace_back("Mass per head", SpreadText(stats.head_covered_mass(), 4));
  }
  std::string text = FieldsText(fields);
  if (stats.plans().empty() && stats.rejected_plans().empty()) return text;
  Table plans({"PLAN", "TOKENS", "INDEX", "TIER", ">PREDICTED", ">ACTUAL", "REASON"});
  AddPlans(stats.plans(), /*chosen=*/true, plans);
  AddPlans(stats.rejected_plans(), /*chosen=*/false, plans);
  return text + "\n" + plans.Text();
}

StatusOr<std::string> OutputText(const pb::AttendResult& result) {
  ALAYA_ASSIGN_OR_RETURN(const TensorView shape, ViewTensor(result.output()));
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> output, ToFloats(result.output()));
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> log_sum_exp, ToFloats(result.log_sum_exp()));
  if (log_sum_exp.size() != shape.tokens * shape.heads) {
    return Internal("the answer has " + std::to_string(log_sum_exp.size()) + " log_sum_exp for " +
                    std::to_string(shape.tokens) + " queries of " + std::to_string(shape.heads) +
                    " heads");
  }
  constexpr size_t kRowsMax = 16;
  Table table({">QUERY", ">NORM MEAN", ">MIN", ">MAX", ">LOG SUM EXP MEAN", ">MIN", ">MAX"});
  for (size_t t = 0; t < std::min(shape.tokens, kRowsMax); ++t) {
    Spread norms;
    Spread sums;
    for (size_t i = t * shape.heads; i < (t + 1) * shape.heads; ++i) {
      norms.Add(Norm(std::span(output).subspan(i * shape.dim, shape.dim)));
      sums.Add(double{log_sum_exp[i]});
    }
    table.AddRow({std::to_string(t), FixedText(norms.mean(), 4), FixedText(norms.min, 4),
                  FixedText(norms.max, 4), FixedText(sums.mean(), 4), FixedText(sums.min, 4),
                  FixedText(sums.max, 4)});
  }
  std::string text = table.Text();
  if (shape.tokens > kRowsMax) {
    text += "and " + std::to_string(shape.tokens - kRowsMax) + " more queries\n";
  }
  return text;
}

}  // namespace alaya::client
