// Sums of floats, in double.

#ifndef ALAYA_INDEX_FLAT_SUMS_H_
#define ALAYA_INDEX_FLAT_SUMS_H_

#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>

namespace alaya {

// In several parts, so that no addition waits for the one before.
inline double SumOf(std::span<const float> numbers) {
  constexpr size_t kParts = 16;
  std::array<double, kParts> parts{};
  size_t i = 0;
  for (; i + kParts <= numbers.size(); i += kParts) {
    for (size_t k = 0; k < kParts; ++k) parts[k] += double{numbers[i + k]};
  }
  for (; i < numbers.size(); ++i) parts[0] += double{numbers[i]};
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

// The Euclidean length of a vector.
inline double VectorLength(std::span<const float> vector) {
  double sum = 0;
  for (const float element : vector) sum += double{element} * double{element};
  return std::sqrt(sum);
}

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_SUMS_H_
