// Which tokens a query attends to, beside the window and the session's own tail.

#ifndef ALAYA_INDEX_TARGET_H_
#define ALAYA_INDEX_TARGET_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <variant>

namespace alaya {

// Every visible token.
struct FullTarget {};

// Tokens whose attention weight is at least alpha times the largest.
struct DiprTarget {
  double alpha = 0.012;  // in (0, 1]
  // True: no such token may be missing. False: one may be, with the small probability
  // that an index states.
  bool sound = false;

  // The same as a width of unscaled inner products: score >= best - beta.
  double beta(double scale) const { return -std::log(alpha) / scale; }
};

// The k tokens with the highest scores; of equal scores the earlier tokens.
struct TopKTarget {
  size_t k = 0;  // at least 1
};

// The fewest tokens that together hold this fraction of the attention mass.
struct MassTarget {
  double fraction = 1;  // in (0, 1]
};

using Target = std::variant<FullTarget, DiprTarget, TopKTarget, MassTarget>;

// Tokens always attended exactly: the sequence's first ones and, for each query,
// the last ones that it sees.
struct Window {
  uint64_t sink = 128;
  uint64_t recent = 512;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_TARGET_H_
