// Keys and values of chosen tokens that lie beside an index on the device, for the steps
// that follow: neighbouring steps want mostly the same rows.
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

// Of one head; a view. No sets: no cache.
struct RowCache {
  uint32_t set_count = 0;
  uint32_t row_bytes = 0;          // a multiple of 16
  uint32_t* tags = nullptr;        // [set_count, kCacheWays] token + 1; 0: empty
  uint32_t* last_steps = nullptr;  // [set_count, kCacheWays] in which it was used last
  std::byte* keys = nullptr;       // [set_count * kCacheWays, row_bytes]
  std::byte* values = nullptr;
};

constexpr size_t RowCacheBytes(uint32_t set_count, uint32_t row_bytes) {
  return size_t{set_count} * kCacheWays * (2 * sizeof(uint32_t) + 2 * size_t{row_bytes});
}

// The view of a cache in `memory`, 16-byte aligned. Zeros are an empty cache.
inline RowCache RowCacheAt(void* memory, uint32_t set_count, uint32_t row_bytes) {
  const size_t slots = size_t{set_count} * kCacheWays;
  auto* const at = static_cast<std::byte*>(memory);
  RowCache cache;
  cache.set_count = set_count;
  cache.row_bytes = row_bytes;
  cache.tags = reinterpret_cast<uint32_t*>(at);
  cache.last_steps = reinterpret_cast<uint32_t*>(at + slots * sizeof(uint32_t));
  cache.keys = at + 2 * slots * sizeof(uint32_t);
  cache.values = cache.keys + slots * row_bytes;
  return cache;
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROW_CACHE_H_
