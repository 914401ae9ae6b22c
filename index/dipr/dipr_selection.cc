#include "index/dipr/dipr_selection.h"

#include <cmath>
#include <limits>

namespace alaya {

float DiprBar(float best, double beta) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  const double bar = double{best} - beta;
  if (bar < double{kLowest}) return best == -kInfinity ? -kInfinity : kLowest;
  const auto nearest = static_cast<float>(bar);
  return double{nearest} < bar ? std::nextafter(nearest, kInfinity) : nearest;
}

Selection SelectDipr(float best, double beta) {
  return {{std::numeric_limits<uint64_t>::max(), DiprBar(best, beta)}};
}

}  // namespace alaya
