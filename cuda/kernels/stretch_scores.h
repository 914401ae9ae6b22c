// Promises of stretches of consecutive tokens: what the bytes of the coarse index
// (index/coarse/stretch_bounds.h) give with all queries of all heads of a part.

#ifndef ALAYA_CUDA_KERNELS_STRETCH_SCORES_H_
#define ALAYA_CUDA_KERNELS_STRETCH_SCORES_H_

#include <cstddef>
#include <cstdint>

namespace alaya {

inline constexpr uint32_t kStretchRowBytesMax = 512;

// In device memory; rows and weights 16-byte aligned.
struct StretchTask {
  uint32_t head_count = 0;   // at most 65535
  uint32_t query_count = 0;  // of a head
  uint32_t stretch_count = 0;
  uint32_t row_bytes = 0;  // a multiple of 16, at most kStretchRowBytesMax
  // From the rows of a head, one after the other, to those of the next; a multiple of 16.
  size_t head_stride_bytes = 0;
  const std::byte* rows = nullptr;
  const float* weights = nullptr;  // [head_count, query_count, row_bytes]
  float* sums = nullptr;           // [head_count, query_count, stretch_count] weights . bytes
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_STRETCH_SCORES_H_
