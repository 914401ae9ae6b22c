#include "tests/support/quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "storage/types/check.h"

namespace alaya {

double OutputError(std::span<const float> output, std::span<const double> exact) {
  ALAYA_CHECK(output.size() == exact.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference += (double{output[i]} - exact[i]) * (double{output[i]} - exact[i]);
    norm += exact[i] * exact[i];
  }
  if (difference == 0) return 0;
  return norm == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(difference / norm);
}

double Recall(std::span<const uint32_t> expected, std::span<const uint32_t> found) {
  if (expected.empty()) return 1;
  std::vector<uint32_t> both;
  std::set_intersection(expected.begin(), expected.end(), found.begin(), found.end(),
                        std::back_inserter(both));
  return static_cast<double>(both.size()) / static_cast<double>(expected.size());
}

bool AllIn(std::span<const uint32_t> found, std::span<const uint32_t> allowed) {
  return std::includes(allowed.begin(), allowed.end(), found.begin(), found.end());
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  const auto index =
      static_cast<ptrdiff_t>(std::clamp(rank, 1.0, static_cast<double>(values.size()))) - 1;
  std::nth_element(values.begin(), values.begin() + index, values.end());
  return values[static_cast<size_t>(index)];
}

double Mean(std::span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

QualityFigures Summarize(std::span<const QualitySample> samples) {
  QualityFigures figures;
  figures.sample_count = samples.size();
  if (samples.empty()) return figures;
  std::vector<double> recovery;
  std::vector<double> error;
  std::vector<double> recall;
  std::vector<double> attended;
  std::vector<double> scored;
  for (const QualitySample& sample : samples) {
    recovery.push_back(sample.recovery);
    error.push_back(sample.output_error);
    recall.push_back(sample.dipr_recall);
    attended.push_back(static_cast<double>(sample.tokens_attended));
    scored.push_back(static_cast<double>(sample.tokens_scored));
    figures.invalid_count += sample.all_valid ? 0 : 1;
  }
  figures.recovery_mean = Mean(recovery);
  figures.recovery_p10 = Percentile(recovery, 0.1);
  figures.recovery_min = *std::min_element(recovery.begin(), recovery.end());
  figures.output_error_mean = Mean(error);
  figures.output_error_p99 = Percentile(error, 0.99);
  figures.dipr_recall_mean = Mean(recall);
  figures.tokens_attended_mean = Mean(attended);
  figures.tokens_attended_max = *std::max_element(attended.begin(), attended.end());
  figures.tokens_scored_mean = Mean(scored);
  figures.tokens_scored_max = *std::max_element(scored.begin(), scored.end());
  return figures;
}

std::string FormatQualityTable(std::span<const std::pair<std::string, QualityFigures>> rows) {
  std::string table =
      fmt::format("{:<16} {:>7}  {:^22}  {:^19}  {:^14}  {:^17}  {:^17}\n", "", "samples",
                  "recovery", "output error", "DIPR set", "tokens attended", "tokens scored");
  table += fmt::format(
      "{:<16} {:>7}  {:>6} {:>7} {:>7}  {:>9} {:>9}  {:>6} {:>7}  {:>8} {:>8}  {:>8} {:>8}\n", "",
      "", "mean", "p10", "min", "mean", "p99", "recall", "invalid", "mean", "max", "mean", "max");
  for (const auto& [name, f] : rows) {
    table += fmt::format(
        "{:<16} {:>7}  {:>6.4f} {:>7.4f} {:>7.4f}  {:>9.2e} {:>9.2e}  {:>6.4f} {:>7}  {:>8.0f} "
        "{:>8.0f}  "
        "{:>8.0f} {:>8.0f}\n",
        name, f.sample_count, f.recovery_mean, f.recovery_p10, f.recovery_min, f.output_error_mean,
        f.output_error_p99, f.dipr_recall_mean, f.invalid_count, f.tokens_attended_mean,
        f.tokens_attended_max, f.tokens_scored_mean, f.tokens_scored_max);
  }
  return table;
}

}  // namespace alaya
