#include "client/cli/random_vectors.h"

#include <cmath>

namespace alaya::client {

// splitmix64.
uint64_t RandomVectors::NextBits() {
  uint64_t bits = state_ += 0x9E3779B97F4A7C15U;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBU;
  return bits ^ (bits >> 31);
}

void RandomVectors::Fill(float standard_deviation, std::span<float> elements) {
  // The sum of four uniform numbers of 16 bits is near enough to a normal one (range
  // 3.5 standard deviations); each has variance 2^32 / 12.
  const float factor = standard_deviation / (65536.0F * std::sqrt(4.0F / 12.0F));
  for (float& element : elements) {
    const uint64_t bits = NextBits();
    const uint64_t sum =
        (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48);
    element = (static_cast<float>(sum) - 2 * 65535.0F) * factor;
  }
}

}  // namespace alaya::client
