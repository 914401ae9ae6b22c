// Stored elements to float and back, one at a time, by the definition of each type.
//
// The tests' own conversion, kept apart from the kernels that it judges.

#ifndef ALAYA_TESTS_SUPPORT_ELEMENT_CODEC_H_
#define ALAYA_TESTS_SUPPORT_ELEMENT_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "storage/types/dtype.h"

namespace alaya {

// Rounds to the nearest, ties to even; what is too large becomes infinite.
uint16_t EncodeF16(float value);
uint16_t EncodeBF16(float value);
float DecodeF16(uint16_t bits);
float DecodeBF16(uint16_t bits);

// `out` holds values.size() * ElementBytes(dtype) bytes.
void Encode(std::span<const float> values, DType dtype, std::span<std::byte> out);
std::vector<std::byte> Encode(std::span<const float> values, DType dtype);
// bytes.size() is a multiple of ElementBytes(dtype).
std::vector<float> Decode(std::span<const std::byte> bytes, DType dtype);
// What a value is after it was stored: Decode(Encode(values)).
void RoundTo(DType dtype, std::span<float> values);

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_ELEMENT_CODEC_H_
