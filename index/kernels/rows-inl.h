// Rows of stored elements as SIMD vectors of floats; shared by the kernels, compiled
// once per instruction set.
//
// A row is read in chunks of 2 * Lanes(d) elements, each as two vectors. Which
// element lies in which lane is the codec's choice ("chunk order"): splitting bf16
// into even and odd elements costs one instruction per vector, keeping their order
// costs two. Whatever meets such a vector (queries, sums) goes through the same codec.

#if defined(ALAYA_INDEX_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ALAYA_INDEX_KERNELS_ROWS_INL_H_
#undef ALAYA_INDEX_KERNELS_ROWS_INL_H_
#else
#define ALAYA_INDEX_KERNELS_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "hwy/highway.h"
#include "storage/types/dtype.h"

// Accumulators are arrays of vectors: they stay in registers only if every loop over
// them is unrolled, at any optimisation level.
#undef ALAYA_UNROLL
#if HWY_COMPILER_CLANG
#define ALAYA_UNROLL _Pragma("unroll")
#else
#define ALAYA_UNROLL _Pragma("GCC unroll 8")
#endif

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

struct FloatPair {
  FloatVector first;
  FloatVector second;
};

// Registers for accumulators: half of those that the instruction set has.
constexpr size_t kAccumulatorCount = HWY_TARGET <= HWY_AVX3 ? 16 : 8;

// Bytes at any alignment as one vector of `d`'s type.
template <class D>
HWY_INLINE hn::Vec<D> LoadBytes(D d, const std::byte* bytes) {
#if HWY_TARGET == HWY_SCALAR
  hn::TFromD<D> element;
  std::memcpy(&element, bytes, sizeof(element));
  return hn::Set(d, element);
#else
  const hn::Repartition<uint8_t, D> d_bytes;
  return hn::BitCast(d, hn::LoadU(d_bytes, reinterpret_cast<const uint8_t*>(bytes)));
#endif
}

// Chunk order is element order.
struct SequentialOrder {
  static HWY_INLINE FloatPair LoadFloats(const float* values) {
    const FloatTag d;
    return {hn::LoadU(d, values), hn::LoadU(d, values + hn::Lanes(d))};
  }
  static HWY_INLINE void StoreFloats(FloatPair pair, float* values) {
    const FloatTag d;
    hn::StoreU(pair.first, d, values);
    hn::StoreU(pair.second, d, values + hn::Lanes(d));
  }
};

template <DType kType>
struct RowCodec;

template <>
struct RowCodec<DType::kF32> : SequentialOrder {
  static constexpr size_t kElementBytes = 4;
  static HWY_INLINE FloatPair Load(const std::byte* row) {
    const FloatTag d;
    return {LoadBytes(d, row), LoadBytes(d, row + kElementBytes * hn::Lanes(d))};
  }
};

template <>
struct RowCodec<DType::kF16> : SequentialOrder {
  static constexpr size_t kElementBytes = 2;
  static HWY_INLINE FloatPair Load(const std::byte* row) {
    const FloatTag d;
    return {Promote(row), Promote(row + kElementBytes * hn::Lanes(d))};
  }

 private:
  static HWY_INLINE FloatVector Promote(const std::byte* row) {
    const FloatTag d;
#if HWY_TARGET <= HWY_AVX2
    const hn::Rebind<hwy::float16_t, FloatTag> d_half;
    return hn::PromoteTo(d, LoadBytes(d_half, row));
#else
    // Highway's emulation takes NaN and infinity for numbers. Moving exponent and
    // mantissa into place and multiplying by 2^(127 - 15) is right for all others.
    const hn::RebindToUnsigned<FloatTag> d_bits;
    const hn::Rebind<uint16_t, FloatTag> d_half;
    const auto half = hn::PromoteTo(d_bits, LoadBytes(d_half, row));
    const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(d_bits, 0x8000)));
    const auto magnitude = hn::ShiftLeft<13>(hn::And(half, hn::Set(d_bits, 0x7FFF)));
    const auto number = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112F));
    const auto special = hn::IfThenElseZero(hn::Ge(number, hn::Set(d, 65536.0F)),
                                            hn::BitCast(d, hn::Set(d_bits, 0x7F800000)));
    return hn::Or(hn::Or(number, special), hn::BitCast(d, sign));
#endif
  }
};

template <>
struct RowCodec<DType::kBF16> {
  static constexpr size_t kElementBytes = 2;
  static HWY_INLINE FloatPair Load(const std::byte* row) {
    const FloatTag d;
    const hn::RebindToUnsigned<FloatTag> d_bits;
    const auto pairs = LoadBytes(d_bits, row);
    return {hn::BitCast(d, hn::ShiftLeft<16>(pairs)),
            hn::BitCast(d, hn::And(pairs, hn::Set(d_bits, 0xFFFF0000)))};
  }
  static HWY_INLINE FloatPair LoadFloats(const float* values) {
    FloatPair pair{};
    hn::LoadInterleaved2(FloatTag(), values, pair.first, pair.second);
    return pair;
  }
  static HWY_INLINE void StoreFloats(FloatPair pair, float* values) {
    hn::StoreInterleaved2(pair.first, pair.second, FloatTag(), values);
  }
};

// Where a kernel's reading goes on: to the end of its block, then to `upcoming`.
//
// Kernels ask for memory some way ahead. The processor does so too, but starts anew
// on every 4 KiB, and arithmetic leaves its window no room to run ahead by itself.
class ReadAhead {
 public:
  ReadAhead(std::span<const std::byte> block, std::span<const std::byte> upcoming)
      : block_(block), upcoming_(upcoming) {}

  // What is read `offset` bytes after the block's begin. An address to prefetch, not
  // to read: behind the end of all it is any.
  HWY_INLINE const std::byte* At(size_t offset) const {
    if (offset < block_.size()) return block_.data() + offset;
    offset -= block_.size();
    return offset < upcoming_.size() ? upcoming_.data() + offset : block_.data();
  }

 private:
  std::span<const std::byte> block_;
  std::span<const std::byte> upcoming_;
};

// Where lines that are asked for are to lie.
enum class CacheLevel : int {
  kOnce = 0,  // in the first-level cache, and leave nothing behind in others
  kSecond = 2,
  kFirst = 3,
};

// Fetches the cache lines of `bytes` bytes.
template <size_t kBytes, CacheLevel kLevel = CacheLevel::kSecond>
HWY_INLINE void PrefetchLines(const std::byte* begin) {
  ALAYA_UNROLL
  for (size_t line = 0; line < kBytes; line += 64) {
    __builtin_prefetch(begin + line, 0, static_cast<int>(kLevel));
  }
}

// A row's last chunk if it is not whole: `count` elements, then zeros.
template <DType kType>
HWY_INLINE FloatPair LoadPartial(const std::byte* row, size_t count) {
  using Codec = RowCodec<kType>;
  HWY_ALIGN std::byte chunk[2 * hn::MaxLanes(FloatTag()) * Codec::kElementBytes] = {};
  std::memcpy(chunk, row, count * Codec::kElementBytes);
  return Codec::Load(chunk);
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#endif  // ALAYA_INDEX_KERNELS_ROWS_INL_H_
