#include "index/kernels/encoding.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/encoding.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

template <DType kType>
void Decode(std::span<const std::byte> encoded, std::span<float> values) {
  using Codec = RowCodec<kType>;
  const size_t chunk = 2 * hn::Lanes(FloatTag());
  size_t i = 0;
  for (; i + chunk <= values.size(); i += chunk) {
    Codec::StoreFloats(Codec::Load(&encoded[i * Codec::kElementBytes]), &values[i]);
  }
  if (i < values.size()) {
    HWY_ALIGN float rest[2 * hn::MaxLanes(FloatTag())];
    Codec::StoreFloats(LoadPartial<kType>(&encoded[i * Codec::kElementBytes], values.size() - i),
                       rest);
    std::memcpy(&values[i], rest, (values.size() - i) * sizeof(float));
  }
}

void DecodeElements(DType dtype, std::span<const std::byte> encoded, std::span<float> values) {
  switch (dtype) {
    case DType::kF32:
      return Decode<DType::kF32>(encoded, values);
    case DType::kF16:
      return Decode<DType::kF16>(encoded, values);
    case DType::kBF16:
      return Decode<DType::kBF16>(encoded, values);
  }
}

// Half a vector of 16-bit elements.
using HalfBits = hn::Vec<hn::Rebind<uint16_t, FloatTag>>;

HWY_INLINE HalfBits ToBF16(FloatVector value) {
  const hn::RebindToUnsigned<FloatTag> d_bits;
  const hn::Rebind<uint16_t, FloatTag> d_half;
  const auto bits = hn::BitCast(d_bits, value);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(d_bits, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d_bits, 0x7FFF))));
  // Rounding could carry a NaN into infinity: it becomes a quiet one instead.
  const auto quiet = hn::Or(upper, hn::Set(d_bits, 0x40));
  const auto is_nan = hn::RebindMask(d_bits, hn::IsNaN(value));
  // Saturation does nothing: the values have 16 bits.
  const hn::RebindToSigned<decltype(d_bits)> d_signed;
  return hn::DemoteTo(d_half, hn::BitCast(d_signed, hn::IfThenElse(is_nan, quiet, rounded)));
}

void EncodeBF16(std::span<const float> values, std::span<std::byte> encoded) {
  const FloatTag d;
  const hn::Rebind<uint16_t, FloatTag> d_half;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  HWY_ALIGN uint16_t half[hn::MaxLanes(FloatTag())];
  for (; i + lanes <= values.size(); i += lanes) {
    hn::Store(ToBF16(hn::LoadU(d, &values[i])), d_half, half);
    std::memcpy(&encoded[2 * i], half, 2 * lanes);
  }
  if (i < values.size()) {
    HWY_ALIGN float rest[hn::MaxLanes(FloatTag())] = {};
    std::memcpy(rest, &values[i], (values.size() - i) * sizeof(float));
    hn::Store(ToBF16(hn::Load(d, rest)), d_half, half);
    std::memcpy(&encoded[2 * i], half, 2 * (values.size() - i));
  }
}

void EncodeF16(std::span<const float> values, std::span<std::byte> encoded) {
#if HWY_TARGET <= HWY_AVX2
  const FloatTag d;
  const hn::Rebind<hwy::float16_t, FloatTag> d_half;
  const hn::RebindToUnsigned<decltype(d_half)> d_bits;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  HWY_ALIGN uint16_t half[hn::MaxLanes(FloatTag())];
  for (; i + lanes <= values.size(); i += lanes) {
    hn::Store(hn::BitCast(d_bits, hn::DemoteTo(d_half, hn::LoadU(d, &values[i]))), d_bits, half);
    std::memcpy(&encoded[2 * i], half, 2 * lanes);
  }
  EncodeElementsReference(values.subspan(i), DType::kF16, encoded.subspan(2 * i));
#else
  // Highway's emulation takes NaN and infinity for numbers.
  EncodeElementsReference(values, DType::kF16, encoded);
#endif
}

void EncodeElements(std::span<const float> values, DType dtype, std::span<std::byte> encoded) {
  switch (dtype) {
    case DType::kF32:
      if (!values.empty()) std::memcpy(encoded.data(), values.data(), encoded.size());
      return;
    case DType::kF16:
      return EncodeF16(values, encoded);
    case DType::kBF16:
      return EncodeBF16(values, encoded);
  }
}

// True if no element of Bits has all bits of the exponent set.
template <class Bits>
bool NoFullExponent(std::span<const std::byte> encoded, Bits exponent) {
  const hn::ScalableTag<Bits> d;
  const size_t vector_bytes = hn::Lanes(d) * sizeof(Bits);
  const auto mask = hn::Set(d, exponent);
  // Of elements cut to their exponent, the largest is full or none is.
  auto largest = hn::Zero(d);
  size_t i = 0;
  for (; i + vector_bytes <= encoded.size(); i += vector_bytes) {
    largest = hn::Max(largest, hn::And(LoadBytes(d, &encoded[i]), mask));
  }
  if (!hn::AllFalse(d, hn::Eq(largest, mask))) return false;
  for (; i < encoded.size(); i += sizeof(Bits)) {
    Bits element;
    std::memcpy(&element, &encoded[i], sizeof(Bits));
    if ((element & exponent) == exponent) return false;
  }
  return true;
}

bool AllFinite(DType dtype, std::span<const std::byte> encoded) {
  switch (dtype) {
    case DType::kF32:
      return NoFullExponent<uint32_t>(encoded, 0x7F800000);
    case DType::kF16:
      return NoFullExponent<uint16_t>(encoded, 0x7C00);
    case DType::kBF16:
      return NoFullExponent<uint16_t>(encoded, 0x7F80);
  }
  return false;
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(DecodeElements);
HWY_EXPORT(EncodeElements);
HWY_EXPORT(AllFinite);

void DecodeElements(DType dtype, std::span<const std::byte> encoded, std::span<float> values) {
  assert(encoded.size() == values.size() * ElementBytes(dtype));
  HWY_DYNAMIC_DISPATCH(DecodeElements)(dtype, encoded, values);
}

void EncodeElements(std::span<const float> values, DType dtype, std::span<std::byte> encoded) {
  assert(encoded.size() == values.size() * ElementBytes(dtype));
  HWY_DYNAMIC_DISPATCH(EncodeElements)(values, dtype, encoded);
}

bool AllFinite(DType dtype, std::span<const std::byte> encoded) {
  assert(encoded.size() % ElementBytes(dtype) == 0);
  return HWY_DYNAMIC_DISPATCH(AllFinite)(dtype, encoded);
}

namespace {

float HalfToFloat(uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const int mantissa = half & 0x3FF;
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  if (exponent < 31) return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return mantissa == 0 ? sign * std::numeric_limits<float>::infinity()
                       : std::numeric_limits<float>::quiet_NaN();
}

uint16_t FloatToHalf(float value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (std::isnan(value)) return sign | 0x7E00;
  const float magnitude = std::fabs(value);
  // The first number that rounds to 2^16, one step beyond the largest half.
  if (magnitude >= 65520.0F) return sign | 0x7C00;
  // In units of the last place of this magnitude's halves; nearbyint rounds ties to even.
  const int exponent = std::max(magnitude == 0 ? -14 : std::ilogb(magnitude), -14);
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  // Subnormals have fewer than 1024 units; a carry moves into the exponent by itself.
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + units));
}

uint16_t FloatToBF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

template <class T>
T LoadElement(const std::byte* bytes) {
  T element;
  std::memcpy(&element, bytes, sizeof(T));
  return element;
}

}  // namespace

void DecodeElementsReference(DType dtype, std::span<const std::byte> encoded,
                             std::span<float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const std::byte* element = &encoded[i * ElementBytes(dtype)];
    switch (dtype) {
      case DType::kF32:
        values[i] = LoadElement<float>(element);
        break;
      case DType::kF16:
        values[i] = HalfToFloat(LoadElement<uint16_t>(element));
        break;
      case DType::kBF16:
        values[i] = std::bit_cast<float>(uint32_t{LoadElement<uint16_t>(element)} << 16);
        break;
    }
  }
}

void EncodeElementsReference(std::span<const float> values, DType dtype,
                             std::span<std::byte> encoded) {
  for (size_t i = 0; i < values.size(); ++i) {
    std::byte* element = &encoded[i * ElementBytes(dtype)];
    if (dtype == DType::kF32) {
      std::memcpy(element, &values[i], 4);
    } else {
      const uint16_t bits = dtype == DType::kF16 ? FloatToHalf(values[i]) : FloatToBF16(values[i]);
      std::memcpy(element, &bits, 2);
    }
  }
}

bool AllFiniteReference(DType dtype, std::span<const std::byte> encoded) {
  for (size_t i = 0; i < encoded.size(); i += ElementBytes(dtype)) {
    float value = 0;
    DecodeElementsReference(dtype, encoded.subspan(i, ElementBytes(dtype)), {&value, 1});
    if (!std::isfinite(value)) return false;
  }
  return true;
}

}  // namespace alaya
#endif  // HWY_ONCE
