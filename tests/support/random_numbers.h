// Random numbers that are the same on every machine, at any position, in any order.
//
// Counter-based: number i of a stream is a hash of (stream, i), so threads need no
// shared state and any part of a workload can be made alone. Normal numbers are sums
// of four uniform ones (Irwin-Hall): exact integer arithmetic, no library function
// whose last bit may differ. Their tails end at 3.5 deviations; sums over tens of
// channels, which is what attention sees, are as normal as one can measure.
//
// Source: SplitMix64 (Steele, Lea, Flood 2014) for the hash.

#ifndef ALAYA_TESTS_SUPPORT_RANDOM_NUMBERS_H_
#define ALAYA_TESTS_SUPPORT_RANDOM_NUMBERS_H_

#include <cstdint>

namespace alaya {

constexpr uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

class RandomStream {
 public:
  explicit constexpr RandomStream(uint64_t seed) : key_(MixBits(seed + kStep)) {}

  // A stream of its own for each name.
  constexpr RandomStream Split(uint64_t name) const {
    return RandomStream(key_ ^ MixBits(name * kStep + 1));
  }

  constexpr uint64_t Bits(uint64_t i) const { return MixBits(key_ + (i + 1) * kStep); }
  // In [0, 1).
  constexpr double Uniform(uint64_t i) const {
    return static_cast<double>(Bits(i) >> 11) * 0x1p-53;
  }
  constexpr double Uniform(uint64_t i, double low, double high) const {
    return low + (high - low) * Uniform(i);
  }
  // In [0, count); count > 0.
  constexpr uint64_t Below(uint64_t i, uint64_t count) const { return Bits(i) % count; }
  // Mean 0, deviation 1.
  constexpr float Normal(uint64_t i) const {
    const uint64_t bits = Bits(i);
    const auto sum = static_cast<int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                          (bits >> 32 & 0xffff) + (bits >> 48));
    // Four uniform numbers of 0 .. 65535: mean 131070, deviation 65536 / sqrt(3).
    return static_cast<float>(sum - 131070) * 2.6429111e-5F;
  }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;

  uint64_t key_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_RANDOM_NUMBERS_H_
