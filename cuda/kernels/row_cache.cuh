// Finding rows in a cache and bringing others in.

#ifndef ALAYA_CUDA_KERNELS_ROW_CACHE_CUH_
#define ALAYA_CUDA_KERNELS_ROW_CACHE_CUH_

#include <cstdint>

#include "cuda/kernels/row_cache.h"
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/team.cuh"

namespace alaya {

inline constexpr uint32_t kNoSlot = 0xFFFF;

ALAYA_HOST_DEVICE inline uint32_t CacheSetOf(const RowCache& cache, uint32_t token) {
  return static_cast<uint32_t>(uint64_t{token * 0x9E3779B1U} * cache.set_count >> 32);
}

// The token's slot, or kNoSlot.
ALAYA_HOST_DEVICE inline uint32_t FindCached(const RowCache& cache, uint32_t token) {
  if (cache.set_count == 0) return kNoSlot;
  const uint32_t first = CacheSetOf(cache, token) * kCacheWays;
  for (uint32_t way = 0; way < kCacheWays; ++way) {
    if (cache.tags[first + way] == token + 1) return first + way;
  }
  return kNoSlot;
}

// Brings offered rows into a cache, in the order in which they are offered, as far as a
// set has rows that no query of this step used. Block (offer): of one cache, which no
// other block has.
struct AdmitRows {
  // Offers that a block looks at; later ones come again when they are missed again.
  static constexpr uint32_t kOffersMax = 4096;

  const RowOffers* offers;
  const uint32_t* step;  // of the batch before

  struct Shared {
    ALAYA_HOST_DEVICE explicit Shared(void* memory) {
      SharedPieces pieces(memory);
      tokens = pieces.Take<uint32_t>(kOffersMax);
      slots = pieces.Take<uint16_t>(kOffersMax);
      bytes = pieces.bytes();
    }
    uint32_t* tokens;
    uint16_t* slots;  // where an offer goes, or kNoSlot
    uint32_t bytes;
  };
  static uint32_t SharedBytes() { return Shared(nullptr).bytes; }

  ALAYA_HOST_DEVICE void operator()(uint32_t block, uint32_t, void* memory) const {
    const RowOffers& offer = offers[block];
    const RowCache& cache = offer.cache;
    if (cache.set_count == 0) return;
    const Shared shared(memory);
    uint32_t count = *offer.count;
    count = count < offer.capacity ? count : offer.capacity;
    count = count < kOffersMax ? count : kOffersMax;
    const uint32_t now = *step - 1;
    ForEach(count, [&](uint32_t i) {
      shared.tokens[i] = MissedToken(offer.missed[i]);
      shared.slots[i] = kNoSlot;
    });
    ForEach(cache.set_count, [&](uint32_t set) {
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t token = shared.tokens[i];
        if (CacheSetOf(cache, token) != set || FindCached(cache, token) != kNoSlot) continue;
        const uint32_t slot = OldestSlot(cache, set, now);
        if (slot == kNoSlot) continue;
        cache.tags[slot] = token + 1;
        cache.last_steps[slot] = now;
        shared.slots[i] = static_cast<uint16_t>(slot);
      }
    });
    const uint32_t pieces = cache.row_bytes / 16;
    ForEach(count * pieces, [&](uint32_t i) {
      const uint32_t slot = shared.slots[i / pieces];
      if (slot == kNoSlot) return;
      const size_t row = offer.rows_by_token ? shared.tokens[i / pieces] : i / pieces;
      const size_t to = size_t{slot} * cache.row_bytes + i % pieces * 16;
      CopyPiece(offer.keys.row(row) + i % pieces * 16, cache.keys + to);
      CopyPiece(offer.values.row(row) + i % pieces * 16, cache.values + to);
    });
  }

 private:
  ALAYA_HOST_DEVICE static uint32_t OldestSlot(const RowCache& cache, uint32_t set, uint32_t now) {
    uint32_t oldest = kNoSlot;
    uint32_t age_max = 0;
    for (uint32_t slot = set * kCacheWays; slot < (set + 1) * kCacheWays; ++slot) {
      if (cache.tags[slot] == 0) return slot;
      const uint32_t age = now - cache.last_steps[slot];
      if (age > age_max) {
        age_max = age;
        oldest = slot;
      }
    }
    return oldest;
  }

  ALAYA_HOST_DEVICE static void CopyPiece(const std::byte* from, std::byte* to) {
    memcpy(__builtin_assume_aligned(to, 16), __builtin_assume_aligned(from, 16), 16);
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROW_CACHE_CUH_
