// The keys with the highest scores for many queries at once: the first stage of building
// the fine index (index/graph/query_lists.h), on a device.

#ifndef ALAYA_CUDA_KERNELS_NEAREST_KEYS_H_
#define ALAYA_CUDA_KERNELS_NEAREST_KEYS_H_

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/rows.h"

namespace alaya {

// Keys per query.
inline constexpr uint32_t kNearestMax = 64;

// In device memory.
struct NearestTask {
  uint32_t head_dim = 0;     // a multiple of 8, at most kHeadDimMaxOnDevice
  uint32_t query_count = 0;  // at most 16 * 65535
  uint32_t width = 0;        // keys per query, at most kNearestMax and token_count
  uint32_t first_token = 0;  // that of row 0
  uint32_t token_count = 0;
  DeviceRows keys;                 // [token_count]
  const float* queries = nullptr;  // [query_count, head_dim]
  void* scratch = nullptr;         // NearestScratchBytes, 8-byte aligned
  uint32_t* tokens = nullptr;      // [query_count, width] by falling score; ties: rising
};

// A block takes so many tokens: few enough blocks that their lists are merged at once,
// enough of them to fill a device.
constexpr uint32_t NearestChunkTokens(uint32_t token_count) {
  constexpr uint32_t kLeast = 4096;
  constexpr uint32_t kChunksMax = 16;
  const uint32_t even = (token_count + kChunksMax - 1) / kChunksMax;
  return even > kLeast ? even : kLeast;
}
constexpr uint32_t NearestChunks(uint32_t token_count) {
  const uint32_t chunk_tokens = NearestChunkTokens(token_count);
  return (token_count + chunk_tokens - 1) / chunk_tokens;
}
constexpr size_t NearestScratchBytes(uint32_t query_count, uint32_t width, uint32_t token_count) {
  return size_t{NearestChunks(token_count)} * query_count * width * sizeof(uint64_t);
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_NEAREST_KEYS_H_
