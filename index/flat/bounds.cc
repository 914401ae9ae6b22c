#include "index/flat/bounds.h"

#include <algorithm>
#include <cmath>

#include "index/kernels/key_codes.h"

namespace alaya {

ErrorFactors Bounds::Statistical(double deviations) const {
  return Fine(deviations / std::sqrt(dim_));
}

ErrorFactors Bounds::Coarse(double deviations) const {
  // Levels are at most 1.5 in every element.
  const double of_scale =
      deviations * query_.table_deviation + 1.5 * std::sqrt(dim_) * Rounding() * query_.length;
  return RoundedUp(deviations * query_.coarse_deviation_max + Rounding() * query_.length, of_scale);
}

double Bounds::Rounding() const { return (dim_ + 8) * 0x1p-24 + 0x1p-20 + frame_.rounding; }

ErrorFactors Bounds::Fine(double share) const {
  // |x| <= scale * lengths_per_scale, and |x'| <= |x| + |x - x'|.
  const double lengths_per_scale = std::sqrt(dim_) / kFineScaleRatio;
  const double of_levels = share * query_.error_length + Rounding() * query_.length;
  return RoundedUp(share * query_.length + of_levels, lengths_per_scale * of_levels);
}

ErrorFactors Bounds::RoundedUp(double of_error, double of_scale) const {
  // Exact scores may take subnormal elements for zeros.
  const double length = frame_.query_length;
  const double tiny =
      dim_ * 0x1p-125 * (query_.length + length + frame_.centre_length + kCodedLengthMax);
  const double constant = Rounding() * length * frame_.centre_length + tiny;
  const auto round_up = [](double factor) {
    return static_cast<float>(std::max(factor * (1 + 0x1p-20), 0x1p-120));
  };
  return {round_up(of_error), round_up(of_scale), round_up(constant)};
}

}  // namespace alaya
