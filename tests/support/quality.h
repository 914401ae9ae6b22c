// The quality figures that are always reported together.
//
// recovery: exact attention mass inside the attended set. output error:
// ||o - o_exact|| / ||o_exact||. recall of the DIPR set, and whether every returned
// token belongs to it. Tokens attended and tokens scored.

#ifndef ALAYA_TESTS_SUPPORT_QUALITY_H_
#define ALAYA_TESTS_SUPPORT_QUALITY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace alaya {

// One query of one head.
struct QualitySample {
  double recovery = 0;
  double output_error = 0;
  double dipr_recall = 1;
  bool all_valid = true;
  uint64_t tokens_attended = 0;
  uint64_t tokens_scored = 0;
};

// ||output - exact|| / ||exact||; 0 if both are zero, infinite if only `exact` is.
double OutputError(std::span<const float> output, std::span<const double> exact);

// Share of `expected` that is in `found`; both rising. 1 if nothing is expected.
double Recall(std::span<const uint32_t> expected, std::span<const uint32_t> found);
// Is every token of `found` in `allowed`? Both rising.
bool AllIn(std::span<const uint32_t> found, std::span<const uint32_t> allowed);

// The value below which this share of the values lies (the nearest rank); 0 without
// values.
double Percentile(std::vector<double> values, double share);
double Mean(std::span<const double> values);

struct QualityFigures {
  size_t sample_count = 0;
  double recovery_mean = 0;
  double recovery_p10 = 0;
  double recovery_min = 0;
  double output_error_mean = 0;
  double output_error_p99 = 0;
  double dipr_recall_mean = 0;
  size_t invalid_count = 0;  // samples that returned a token outside the DIPR set
  double tokens_attended_mean = 0;
  double tokens_attended_max = 0;
  double tokens_scored_mean = 0;
  double tokens_scored_max = 0;
};

QualityFigures Summarize(std::span<const QualitySample> samples);

// A table for people, one line per name.
std::string FormatQualityTable(std::span<const std::pair<std::string, QualityFigures>> rows);

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_QUALITY_H_
