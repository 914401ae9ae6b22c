// How far an approximate score may be from the exact one, for one query: the bounds of
// flat_search.h as factors of a token's error and scale, with all that floats round.

#ifndef ALAYA_INDEX_FLAT_BOUNDS_H_
#define ALAYA_INDEX_FLAT_BOUNDS_H_

#include <cstddef>

#include "index/kernels/code_scores.h"
#include "index/kernels/key_codes.h"

namespace alaya {

// Queries and centre scores up to here keep the arithmetic of bounds finite.
inline constexpr double kBoundedLengthMax = 1e18;
inline constexpr double kBoundedCentreMax = 1e35;  // |query| * |centre|

// What a query and keys were before they came into the coordinates of codes.
struct CodeFrame {
  double query_length = 0;
  double centre_length = 0;
  // What both ways round, and the way there with exact scores, relative to the lengths that query
  // and key have here.
  double rounding = kRotationError;
};

class Bounds {
 public:
  // `query` must outlive this.
  Bounds(const CodeQueries::Query* query, size_t head_dim, const CodeFrame& frame)
      : query_(*query), dim_(static_cast<double>(head_dim)), frame_(frame) {}

  // Of fine scores: never exceeded, or not by errors of so many standard deviations.
  ErrorFactors Sound() const { return Fine(1); }
  ErrorFactors Statistical(double deviations) const;
  // Of coarse scores, statistically.
  ErrorFactors Coarse(double deviations) const;

 private:
  // Of sums of head_dim products, here and in exact scores, relative to the product of
  // the lengths; of rotation or map; of the bound itself.
  double Rounding() const;
  // The inequality's share of both its terms.
  ErrorFactors Fine(double share) const;
  ErrorFactors RoundedUp(double of_error, double of_scale) const;

  const CodeQueries::Query& query_;
  const double dim_;
  const CodeFrame frame_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_BOUNDS_H_
