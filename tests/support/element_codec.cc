#include "tests/support/element_codec.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "storage/types/check.h"

namespace alaya {

uint16_t EncodeBF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float DecodeBF16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t EncodeF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // 65520 and more
  if (magnitude < 0x38800000) {
    // Below 2^-14 a half counts in steps of 2^-24; adding 0.5 makes the sum's last bit
    // exactly that, so the addition itself rounds.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t rebiased = magnitude - (112U << 23);
  return static_cast<uint16_t>(sign | (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13);
}

float DecodeF16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t fraction = bits & 0x3ff;
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  const uint32_t rebiased = exponent == 0x1f ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | rebiased << 23 | fraction << 13);
}

void Encode(std::span<const float> values, DType dtype, std::span<std::byte> out) {
  ALAYA_CHECK(out.size() == values.size() * ElementBytes(dtype));
  if (dtype == DType::kF32) {
    if (!values.empty()) std::memcpy(out.data(), values.data(), out.size());
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = dtype == DType::kF16 ? EncodeF16(values[i]) : EncodeBF16(values[i]);
    std::memcpy(&out[2 * i], &bits, sizeof(bits));
  }
}

std::vector<std::byte> Encode(std::span<const float> values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * ElementBytes(dtype));
  Encode(values, dtype, bytes);
  return bytes;
}

std::vector<float> Decode(std::span<const std::byte> bytes, DType dtype) {
  ALAYA_CHECK(bytes.size() % ElementBytes(dtype) == 0);
  std::vector<float> values(bytes.size() / ElementBytes(dtype));
  if (dtype == DType::kF32) {
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, &bytes[2 * i], sizeof(bits));
    values[i] = dtype == DType::kF16 ? DecodeF16(bits) : DecodeBF16(bits);
  }
  return values;
}

void RoundTo(DType dtype, std::span<float> values) {
  if (dtype == DType::kF32) return;
  for (float& value : values) {
    value = dtype == DType::kF16 ? DecodeF16(EncodeF16(value)) : DecodeBF16(EncodeBF16(value));
  }
}

}  // namespace alaya
