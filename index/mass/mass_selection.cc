#include "index/mass/mass_selection.h"

#include <algorithm>
#include <cmath>

namespace alaya {

Selection SelectMass(std::span<SequenceToken> candidates, double fraction, double log_sum_exp,
                     double scale) {
  // The sums below round: a share of all must not leave a token out for that.
  if (fraction >= 1) return {};
  const auto mass = [&](std::span<const SequenceToken> tokens) {
    double sum = 0;
    for (const SequenceToken& token : tokens) {
      sum += std::exp(scale * double{token.score} - log_sum_exp);
    }
    return sum;
  };
  // Quickselect by mass: the last token taken lies among `open`, all before it hold
  // less than `needed` more.
  double needed = fraction;
  std::span<SequenceToken> open = candidates;
  Selection selection;
  while (!open.empty()) {
    const size_t middle = (open.size() - 1) / 2;
    std::nth_element(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(middle), open.end(),
                     RanksBefore<SequenceToken>);
    const double upper_mass = mass(open.first(middle + 1));
    if (upper_mass >= needed) {
      selection.last = open[middle];
      open = open.first(middle);
    } else {
      needed -= upper_mass;
      open = open.subspan(middle + 1);
    }
  }
  return selection;
}

}  // namespace alaya
