// Single numbers as bf16, the upper half of a float.

#ifndef ALAYA_INDEX_KERNELS_BF16_H_
#define ALAYA_INDEX_KERNELS_BF16_H_

#include <bit>
#include <cstdint>

namespace alaya {

constexpr float BF16ToFloat(uint16_t number) {
  return std::bit_cast<float>(uint32_t{number} << 16);
}

// The lowest bf16 that is at least `value`; infinity above the largest one.
//
// Requires: value >= 0.
constexpr uint16_t RoundUpToBF16(float value) {
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + 0xFFFF) >> 16);
}

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_BF16_H_
