// The flat index of one kv head of one segment, as it lies in device memory: 3-bit codes
// of all keys and summaries of the values, less than an eighth of the keys' and values'
// own bytes.
//
// A key is centred and rotated (rotation.cuh), x = R(key - centre), and each element
// becomes one of eight levels with a scale of the token's own,
//     x ~ scale * (code - 3.5) = x',       |x - x'| <= error.
// The scale makes x' - x orthogonal to x: errors of scores do not grow with the scores.
// The CPU's index (index/flat) has four bits in two halves; here all bits are read at
// once, and the bytes count more. So codes are made from keys, not from the CPU's codes.
//
// Layout: groups of 64 tokens; in a group, per 32 elements three words of each token
// together, so that threads which hold neighbouring tokens read neighbouring words:
//   words 0, 1  the upper two bits of elements 0-15 and 16-31: element 4i + b of them
//               at bit 8b + 2i
//   word 2      the lowest bits: element 4j + b at bit 8b + j
// Shifting and masking leaves four codes in the four bytes of a word, in the order that
// a query's codes have.

#ifndef ALAYA_CUDA_KERNELS_FLAT_HEAD_H_
#define ALAYA_CUDA_KERNELS_FLAT_HEAD_H_

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/rows.h"

namespace alaya {

inline constexpr uint32_t kGroupTokensOnDevice = 64;
inline constexpr uint32_t kHeadDimMaxOnDevice = 256;

constexpr uint32_t CodeRuns(uint32_t head_dim) { return (head_dim + 31) / 32; }
constexpr uint32_t CodeWords(uint32_t head_dim) { return 3 * CodeRuns(head_dim); }
constexpr uint32_t CodeGroups(uint32_t token_count) {
  return (token_count + kGroupTokensOnDevice - 1) / kGroupTokensOnDevice;
}

// What the codes share.
struct FlatHeadSummary {
  float centre_length = 0;
  // Sums over all tokens: |value - mean of its group|^2; over all that are coded: the
  // errors squared, and |x|^2.
  float deviation_square_sum = 0;
  float error_square_sum = 0;
  float square_sum = 0;
};

// A view; memory belongs to whoever made it.
struct FlatHead {
  uint32_t head_dim = 0;  // a multiple of 8, at most kHeadDimMaxOnDevice
  uint32_t token_count = 0;
  float* centre = nullptr;  // [head_dim]
  FlatHeadSummary* summary = nullptr;
  uint32_t* codes = nullptr;        // [groups, CodeWords, 64]
  uint16_t* scales = nullptr;       // [groups * 64] bf16
  uint16_t* errors = nullptr;       // [groups * 64] bf16; infinite: the token is not coded
  uint16_t* value_means = nullptr;  // [groups, head_dim] bf16
};

// The view of an index in `memory`, 256-byte aligned; from a null pointer only sizes are
// of use. `bytes`, if given, becomes what it takes.
inline FlatHead FlatHeadAt(void* memory, uint32_t head_dim, uint32_t token_count,
                           size_t* bytes = nullptr) {
  size_t end = 0;
  const auto next = [&](size_t piece_bytes) {
    const size_t begin = end;
    end += (piece_bytes + 255) / 256 * 256;
    return memory == nullptr ? nullptr : static_cast<std::byte*>(memory) + begin;
  };
  const size_t groups = CodeGroups(token_count);
  FlatHead head;
  head.head_dim = head_dim;
  head.token_count = token_count;
  head.centre = reinterpret_cast<float*>(next(head_dim * sizeof(float)));
  head.summary = reinterpret_cast<FlatHeadSummary*>(next(sizeof(FlatHeadSummary)));
  head.codes = reinterpret_cast<uint32_t*>(
      next(groups * CodeWords(head_dim) * kGroupTokensOnDevice * sizeof(uint32_t)));
  head.scales = reinterpret_cast<uint16_t*>(next(groups * kGroupTokensOnDevice * sizeof(uint16_t)));
  head.errors = reinterpret_cast<uint16_t*>(next(groups * kGroupTokensOnDevice * sizeof(uint16_t)));
  head.value_means = reinterpret_cast<uint16_t*>(next(groups * head_dim * sizeof(uint16_t)));
  if (bytes != nullptr) *bytes = end;
  return head;
}

inline size_t FlatHeadBytes(uint32_t head_dim, uint32_t token_count) {
  size_t bytes = 0;
  FlatHeadAt(nullptr, head_dim, token_count, &bytes);
  return bytes;
}

// Making the index of `head` from a run of its rows.
struct EncodeTask {
  DeviceRows keys;  // [row_count] both
  DeviceRows values;
  FlatHead head;
  uint32_t row_count = 0;    // up to the last run a multiple of kGroupTokensOnDevice
  uint32_t first_token = 0;  // that of row 0, a multiple of kGroupTokensOnDevice
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_FLAT_HEAD_H_
