// Numbers as the kernels keep them in memory.

#ifndef ALAYA_CUDA_KERNELS_NUMBERS_CUH_
#define ALAYA_CUDA_KERNELS_NUMBERS_CUH_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/kernels/team.cuh"
#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace alaya {

ALAYA_HOST_DEVICE inline float FloatOfBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}
ALAYA_HOST_DEVICE inline uint32_t BitsOfFloat(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

ALAYA_HOST_DEVICE inline float FloatOfBF16(uint32_t number) { return FloatOfBits(number << 16); }
// Of finite numbers; ties to even.
ALAYA_HOST_DEVICE inline uint16_t NearestBF16(float value) {
  const uint32_t bits = BitsOfFloat(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
// The lowest bf16 that is at least `value`, which is not negative.
ALAYA_HOST_DEVICE inline uint16_t BF16AtLeast(float value) {
  return static_cast<uint16_t>((BitsOfFloat(value) + 0xFFFF) >> 16);
}

ALAYA_HOST_DEVICE inline float FloatOfHalf(uint32_t number) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(static_cast<unsigned short>(number)));
#else
  const uint32_t exponent = number >> 10 & 31;
  const auto digits = static_cast<float>(number & 1023);
  float value = exponent == 0 ? digits * 0x1p-24F
                              : std::ldexp(1024 + digits, static_cast<int>(exponent) - 25);
  if (exponent == 31) value = digits == 0 ? INFINITY : NAN;
  return (number & 0x8000) == 0 ? value : -value;
#endif
}

// Greater for a greater score; for equal ones, for the earlier token. 0 is below all.
ALAYA_HOST_DEVICE inline uint64_t TopKey(float score, uint32_t token) {
  const uint32_t bits = BitsOfFloat(score);
  const uint32_t order = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  return uint64_t{order} << 32 | (0xFFFFFFFFU - token);
}
ALAYA_HOST_DEVICE inline uint32_t TokenOfKey(uint64_t key) {
  return 0xFFFFFFFFU - static_cast<uint32_t>(key);
}
ALAYA_HOST_DEVICE inline float ScoreOfKey(uint64_t key) {
  const auto order = static_cast<uint32_t>(key >> 32);
  return FloatOfBits((order >> 31) != 0 ? order & 0x7FFFFFFFU : ~order);
}

// sum + the products of four pairs of signed bytes.
ALAYA_HOST_DEVICE inline int32_t AddProducts(uint32_t a, uint32_t b, int32_t sum) {
#if defined(__CUDA_ARCH__)
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
#else
  for (uint32_t i = 0; i < 4; ++i) {
    sum += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  }
  return sum;
#endif
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_NUMBERS_CUH_
