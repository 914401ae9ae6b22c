// Keys and values of chosen tokens that lie beside an index on the device, for the steps
// that follow: neighbouring steps want mostly the same rows. They lie there with 8 bits an
// element, so that twice as many have room; a token that is heavy enough for that to be seen
// in the output is attended by its stored row all the same (query_bars.cuh).
//
// Sets of kCacheWays rows; a token has one set, where it replaces what was used least
// recently. So a look-up reads 64 bytes, and every set is updated by itself.

#ifndef ALAYA_CUDA_KERNELS_ROW_CACHE_H_
#define ALAYA_CUDA_KERNELS_ROW_CACHE_H_

#include <cstddef>
#include <cstdint>

namespace alaya {

inline constexpr uint32_t kCacheWays = 16;
inline constexpr uint32_t kCacheSetsMax = 4095;  // slots are numbered in 16 bits

// Keys or values of a cache. Slot i's is about centre + scales[i] * its codes.
struct CachedRows {
  float* scales = nullptr;        // [set_count * kCacheWays]
  int8_t* codes = nullptr;        // [set_count * kCacheWays, head_dim]
  const float* centre = nullptr;  // [head_dim]; null: zero
};

// Of one head; a view. No sets: no cache.
struct RowCache {
  uint32_t set_count = 0;
  uint32_t head_dim = 0;           // a multiple of 8
  uint32_t* tags = nullptr;        // [set_count, kCacheWays] token + 1; 0: empty
  uint32_t* last_steps = nullptr;  // [set_count, kCacheWays] in which it was used last
  CachedRows keys;                 // their centre is the index's
  CachedRows values;
};

constexpr size_t RowCacheBytes(uint32_t set_count, uint32_t head_dim) {
  return size_t{set_count} * kCacheWays *
         (2 * sizeof(uint32_t) + 2 * sizeof(float) + 2 * size_t{head_dim});
}

// The view of a cache in `memory`, 16-byte aligned. Zeros are an empty cache.
inline RowCache RowCacheAt(void* memory, uint32_t set_count, uint32_t head_dim,
                           const float* centre) {
  const size_t slots = size_t{set_count} * kCacheWays;
  auto* at = static_cast<std::byte*>(memory);
  const auto next = [&](size_t bytes) {
    std::byte* const piece = at;
    at += bytes;
    return piece;
  };
  RowCache cache;
  cache.set_count = set_count;
  cache.head_dim = head_dim;
  cache.tags = reinterpret_cast<uint32_t*>(next(slots * sizeof(uint32_t)));
  cache.last_steps = reinterpret_cast<uint32_t*>(next(slots * sizeof(uint32_t)));
  cache.keys.scales = reinterpret_cast<float*>(next(slots * sizeof(float)));
  cache.values.scales = reinterpret_cast<float*>(next(slots * sizeof(float)));
  cache.keys.codes = reinterpret_cast<int8_t*>(next(slots * head_dim));
  cache.values.codes = reinterpret_cast<int8_t*>(next(slots * head_dim));
  cache.keys.centre = centre;
  return cache;
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROW_CACHE_H_
