// Where the scans of codes ask for memory; compiled once per instruction set.

#if defined(ALAYA_INDEX_KERNELS_CODES_AHEAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ALAYA_INDEX_KERNELS_CODES_AHEAD_INL_H_
#undef ALAYA_INDEX_KERNELS_CODES_AHEAD_INL_H_
#else
#define ALAYA_INDEX_KERNELS_CODES_AHEAD_INL_H_
#endif

#include <cstddef>
#include <span>

#include "hwy/highway.h"
#include "index/kernels/key_codes.h"
#include "index/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

// Where the scans ask for memory: some groups ahead, then in the codes that come next.
struct CodesAhead {
  static constexpr size_t kGroupNumberBytes = kCodeGroupTokens * sizeof(uint16_t);

  // `is_fine`: the scan reads fine scales and errors.
  CodesAhead(const KeyCodes& keys, const KeyCodes& upcoming, bool is_fine)
      : high(Plane(keys, keys.high, HighBytes(keys.head_dim)),
             Plane(upcoming, upcoming.high, HighBytes(upcoming.head_dim))),
        low(Plane(keys, keys.low, LowBytes(keys.head_dim)),
            Plane(upcoming, upcoming.low, LowBytes(upcoming.head_dim))),
        scales(Numbers(keys, is_fine ? keys.fine_scale : keys.coarse_scale),
               Numbers(upcoming, is_fine ? upcoming.fine_scale : upcoming.coarse_scale)),
        errors(Numbers(keys, is_fine ? keys.fine_error : keys.coarse_error),
               Numbers(upcoming, is_fine ? upcoming.fine_error : upcoming.coarse_error)) {}

  static constexpr size_t kAheadBytes = size_t{16} * 1024;
  static constexpr size_t kNumberBytes = size_t{12} * kGroupNumberBytes;
  ReadAhead high;
  ReadAhead low;
  ReadAhead scales;
  ReadAhead errors;

  HWY_INLINE void PrefetchNumbers(size_t group) const {
    const size_t offset = group * kGroupNumberBytes + kNumberBytes;
    PrefetchCodes<kGroupNumberBytes>(scales.At(offset));
    PrefetchCodes<kGroupNumberBytes>(errors.At(offset));
  }

  // Codes are read once, and must not push the scores out of the caches. Measured on Zen 5: into
  // the second-level cache alone a scan takes 20 % longer.
  template <size_t kBytes>
  static HWY_INLINE void PrefetchCodes(const std::byte* begin) {
    PrefetchLines<kBytes, CacheLevel::kOnce>(begin);
  }

 private:
  static std::span<const std::byte> Plane(const KeyCodes& keys, const std::byte* begin,
                                          size_t group_bytes) {
    return {begin, keys.group_count * group_bytes};
  }
  static std::span<const std::byte> Numbers(const KeyCodes& keys, const uint16_t* begin) {
    return Plane(keys, reinterpret_cast<const std::byte*>(begin), kGroupNumberBytes);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#endif  // ALAYA_INDEX_KERNELS_CODES_AHEAD_INL_H_
