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

// Cached rows are not exact: they serve a search that estimates anyway.
ALAYA_HOST_DEVICE inline bool UsesCache(const SparseTask& task, const SparseOptions& options) {
  return task.cache.set_count > 0 && options.deviations > 0 && options.rest_error > 0;
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

// Writes rows of which some are cached as floats, StagedStride apart: row i from the slot
// slot_at(i) of `cached`, or if that is kNoSlot as it is stored at row_at(i).
template <class SlotAt, class RowAt>
ALAYA_HOST_DEVICE inline void StageMixedRows(DType dtype, uint32_t head_dim, uint32_t row_count,
                                             SlotAt slot_at, const CachedRows& cached, RowAt row_at,
                                             float* staged) {
  const uint32_t piece_elements = 16 / static_cast<uint32_t>(ElementBytes(dtype));
  const uint32_t piece_count = head_dim / piece_elements;
  ForEach(row_count * piece_count, [&](uint32_t i) {
    const uint32_t row = i / piece_count;
    const uint32_t first = i % piece_count * piece_elements;
    float* out = staged + row * StagedStride(head_dim) + first;
    const uint32_t slot = slot_at(row);
    if (slot == kNoSlot) {
      UnpackPiece(dtype, row_at(row) + size_t{i % piece_count} * 16, out);
      return;
    }
    const float scale = cached.scales[slot];
    for (uint32_t word = 0; word < piece_elements / 4; ++word) {
      uint32_t four;
      const int8_t* const at = cached.codes + size_t{slot} * head_dim + first + 4 * word;
      memcpy(&four, __builtin_assume_aligned(at, 4), sizeof(four));
      for (uint32_t b = 0; b < 4; ++b) {
        const auto code = static_cast<float>(static_cast<int8_t>(four >> (8 * b)));
        const uint32_t e = 4 * word + b;
        out[e] = scale * code + (cached.centre == nullptr ? 0 : cached.centre[first + e]);
      }
    }
  });
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
    ALAYA_HOST_DEVICE Shared(void* memory, uint32_t head_dim) {
      SharedPieces pieces(memory);
      tokens = pieces.Take<uint32_t>(kOffersMax);
      slots = pieces.Take<uint16_t>(kOffersMax);
      tile = pieces.Take<float>(TileRows(head_dim) * StagedStride(head_dim));
      scales = pieces.Take<float>(TileRows(head_dim));
      bytes = pieces.bytes();
    }
    uint32_t* tokens;
    uint16_t* slots;  // where an offer goes, or kNoSlot
    float* tile;      // some of the rows
    float* scales;    // theirs
    uint32_t bytes;
  };
  // Of the largest head_dim: 45 KiB.
  static uint32_t SharedBytes() {
    const uint32_t small = Shared(nullptr, 128).bytes;
    const uint32_t large = Shared(nullptr, kHeadDimMaxOnDevice).bytes;
    return small > large ? small : large;
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t block, uint32_t, void* memory) const {
    const RowOffers& offer = offers[block];
    const RowCache& cache = offer.cache;
    if (cache.set_count == 0) return;
    const Shared shared(memory, cache.head_dim);
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
    for (uint32_t begin = 0; begin < count; begin += TileRows(cache.head_dim)) {
      const uint32_t left = count - begin;
      const uint32_t rows = left < TileRows(cache.head_dim) ? left : TileRows(cache.head_dim);
      Encode(shared, offer, offer.keys, begin, rows, cache.keys);
      Encode(shared, offer, offer.values, begin, rows, cache.values);
    }
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

  // Offers begin to begin + rows - 1, as far as they have a slot.
  ALAYA_HOST_DEVICE static void Encode(const Shared& shared, const RowOffers& offer,
                                       const DeviceRows& from, uint32_t begin, uint32_t rows,
                                       const CachedRows& cached) {
    const uint32_t head_dim = offer.cache.head_dim;
    const uint32_t stride = StagedStride(head_dim);
    const uint16_t* slots = shared.slots + begin;
    const auto element = [&](uint32_t row, uint32_t e) {
      const float stored = shared.tile[row * stride + e];
      return cached.centre == nullptr ? stored : stored - cached.centre[e];
    };
    StageRows(
        from.dtype, head_dim, rows,
        [&](uint32_t row) -> const std::byte* {
          if (slots[row] == kNoSlot) return nullptr;
          return from.row(offer.rows_by_token ? shared.tokens[begin + row] : begin + row);
        },
        shared.tile);
    MaxEach(
        rows, head_dim,
        [&](uint32_t row, uint32_t e) {
          return slots[row] == kNoSlot ? 0 : fabsf(element(row, e));
        },
        [&](uint32_t row, float largest) {
          shared.scales[row] = largest / 127;
          if (slots[row] != kNoSlot) cached.scales[slots[row]] = largest / 127;
        });
    ForEach(rows * head_dim, [&](uint32_t i) {
      const uint32_t slot = slots[i / head_dim];
      if (slot == kNoSlot) return;
      const float scale = shared.scales[i / head_dim];
      // A scale too small to divide by leaves codes 0.
      const float inverse = scale < 1e-37F ? 0 : 1 / scale;
      const float code = rintf(element(i / head_dim, i % head_dim) * inverse);
      cached.codes[size_t{slot} * head_dim + i % head_dim] =
          static_cast<int8_t>(fminf(fmaxf(code, -127.0F), 127.0F));
    });
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROW_CACHE_CUH_
