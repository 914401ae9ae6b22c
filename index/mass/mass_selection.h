// Mass: the fewest tokens that hold a given share of the attention mass.

#ifndef ALAYA_INDEX_MASS_MASS_SELECTION_H_
#define ALAYA_INDEX_MASS_MASS_SELECTION_H_

#include <span>

#include "index/selection.h"

namespace alaya {

// Takes the best candidates until they hold `fraction` of the mass e^log_sum_exp of
// all tokens, or all candidates if they hold less; reorders them.
//
// Requires: 0 < fraction <= 1; scale > 0, from score to logit.
// Cost: linear in the candidates, on average.
Selection SelectMass(std::span<SequenceToken> candidates, double fraction, double log_sum_exp,
                     double scale);

}  // namespace alaya

#endif  // ALAYA_INDEX_MASS_MASS_SELECTION_H_
