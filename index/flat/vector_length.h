// The Euclidean length of a vector of floats, summed in double.

#ifndef ALAYA_INDEX_FLAT_VECTOR_LENGTH_H_
#define ALAYA_INDEX_FLAT_VECTOR_LENGTH_H_

#include <cmath>
#include <span>

namespace alaya {

inline double VectorLength(std::span<const float> vector) {
  double sum = 0;
  for (const float element : vector) sum += double{element} * double{element};
  return std::sqrt(sum);
}

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_VECTOR_LENGTH_H_
