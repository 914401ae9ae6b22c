// A random orthogonal map, which spreads a vector's outlier channels over all elements:
// signs and Hadamard transforms, of all elements or, where head_dim is no power of two,
// of the first and the last ones in turn. The same idea as index/kernels/key_codes.h.

#ifndef ALAYA_CUDA_KERNELS_ROTATION_CUH_
#define ALAYA_CUDA_KERNELS_ROTATION_CUH_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/team.cuh"

namespace alaya {

// Of a rotated vector, relative to its length.
inline constexpr float kRotationError = 0x1p-18F;

// +1 or -1: a bit of a SplitMix64 sequence.
ALAYA_HOST_DEVICE inline float RotationSign(uint32_t i) {
  uint64_t x = (uint64_t{i} + 1) * 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return ((x ^ (x >> 31)) & 1) == 0 ? 1.0F : -1.0F;
}

// Rotates rows in shared memory, `stride` apart.
ALAYA_HOST_DEVICE inline void RotateRows(float* rows, uint32_t row_count, uint32_t stride,
                                         uint32_t head_dim) {
  uint32_t size = 1;
  while (2 * size <= head_dim) size *= 2;
  const uint32_t round_count = size == head_dim ? 2 : 4;
  const float scale = 1 / sqrtf(static_cast<float>(size));
  for (uint32_t round = 0; round < round_count; ++round) {
    const uint32_t begin = round % 2 == 0 ? 0 : head_dim - size;
    ForEach(row_count * head_dim, [&](uint32_t i) {
      const uint32_t element = i % head_dim;
      const bool is_transformed = element >= begin && element < begin + size;
      const float sign = RotationSign(round * head_dim + element);
      rows[i / head_dim * stride + element] *= is_transformed ? sign * scale : sign;
    });
    for (uint32_t half = size / 2; half >= 1; half /= 2) {
      ForEach(row_count * size / 2, [&](uint32_t i) {
        const uint32_t pair = i % (size / 2);
        float* a = rows + i / (size / 2) * stride + begin + pair / half * 2 * half + pair % half;
        const float sum = a[0] + a[half];
        a[half] = a[0] - a[half];
        a[0] = sum;
      });
    }
  }
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROTATION_CUH_
