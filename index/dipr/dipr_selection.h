// DIPR: the tokens whose score is close to the best one.
//
// Unlike top-k this takes few tokens of a peaked head and many of a diffuse one.
//
// Source: AlayaDB, arXiv:2504.10326 (dynamic inner product range query).

#ifndef ALAYA_INDEX_DIPR_DIPR_SELECTION_H_
#define ALAYA_INDEX_DIPR_DIPR_SELECTION_H_

#include "index/selection.h"

namespace alaya {

// The lowest float s with s >= best - beta, where beta >= 0 is a width of unscaled
// inner products. Comparing floats with it equals comparing exactly. -inf for best
// -inf: nothing is known yet.
float DiprBar(float best, double beta);

// Takes every token with score >= best - beta.
Selection SelectDipr(float best, double beta);

}  // namespace alaya

#endif  // ALAYA_INDEX_DIPR_DIPR_SELECTION_H_
