// Masks of vectors as bits; compiled once per instruction set.

#if defined(ALAYA_INDEX_KERNELS_MASK_BITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ALAYA_INDEX_KERNELS_MASK_BITS_INL_H_
#undef ALAYA_INDEX_KERNELS_MASK_BITS_INL_H_
#else
#define ALAYA_INDEX_KERNELS_MASK_BITS_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One bit for each lane, of which there are 64 at most.
template <class D>
HWY_INLINE uint64_t BitsOf(D d, hn::Mask<D> mask) {
#if HWY_TARGET <= HWY_AVX3
  (void)d;
  return uint64_t{mask.raw};
#else
  uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  uint64_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return bits;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#endif  // ALAYA_INDEX_KERNELS_MASK_BITS_INL_H_
