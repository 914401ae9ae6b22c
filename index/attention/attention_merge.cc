#include "index/attention/attention_merge.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace alaya {

double MergeLogSumExp(double a, double b) {
  const double high = std::max(a, b);
  const double low = std::min(a, b);
  if (std::isinf(low)) return high;
  return high + std::log1p(std::exp(low - high));
}

void MergeAttention(ConstAttentionPart part, AttentionPart total) {
  assert(part.output.rows() == total.output.rows() && part.output.cols() == total.output.cols());
  for (size_t i = 0; i < total.output.rows(); ++i) {
    const double part_lse = part.log_sum_exp[i];
    const double total_lse = total.log_sum_exp[i];
    if (part_lse == -std::numeric_limits<double>::infinity()) continue;
    const double merged_lse = MergeLogSumExp(part_lse, total_lse);
    const auto part_weight = static_cast<float>(std::exp(part_lse - merged_lse));
    const auto total_weight = static_cast<float>(std::exp(total_lse - merged_lse));
    const float* from = part.output.row(i).data();
    float* to = total.output.row(i).data();
    for (size_t e = 0; e < total.output.cols(); ++e) {
      to[e] = part_weight * from[e] + total_weight * to[e];
    }
    total.log_sum_exp[i] = static_cast<float>(merged_lse);
  }
}

}  // namespace alaya
