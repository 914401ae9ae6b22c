// Vectors of normally distributed elements, reproducible from a seed and fast enough to
// fill gigabytes.

#ifndef ALAYA_CLIENT_CLI_RANDOM_VECTORS_H_
#define ALAYA_CLIENT_CLI_RANDOM_VECTORS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace alaya::client {

class RandomVectors {
 public:
  explicit RandomVectors(uint64_t seed) : state_(seed) {}

  // Independent elements of mean 0 and the given standard deviation.
  void Fill(float standard_deviation, std::span<float> elements);
  uint64_t NextBits();

 private:
  uint64_t state_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_RANDOM_VECTORS_H_
