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
  CodesAhead(const KeyCodes& keys, const KeyCodes& upcoming)
      : high(Plane(keys, keys.high, HighBytes(keys.head_dim)),
             Plane(upcoming, upcoming.high, HighBytes(upcoming.head_dim))),
        low(Plane(keys, keys.low, kCodeGroupTokens * LowRowBytes(keys.head_dim)),
            Plane(upcoming, upcoming.low, kCodeGroupTokens * LowRowBytes(upcoming.head_dim))) {}

  static constexpr size_t kBytes = size_t{8} * 1024;
  ReadAhead high;
  ReadAhead low;

 private:
  static std::span<const std::byte> Plane(const KeyCodes& keys, const std::byte* begin,
                                          size_t group_bytes) {
    return {begin, keys.group_count * group_bytes};
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#endif  // ALAYA_INDEX_KERNELS_CODES_AHEAD_INL_H_
