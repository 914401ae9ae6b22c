// From stored elements to float and back.

#ifndef ALAYA_INDEX_KERNELS_ENCODING_H_
#define ALAYA_INDEX_KERNELS_ENCODING_H_

#include <cstddef>
#include <span>

#include "storage/types/dtype.h"

namespace alaya {

// Writes `encoded`, elements of `dtype` at any alignment, as floats; always exact.
// NaN and infinity stay what they are.
//
// Requires: encoded.size() == values.size() * ElementBytes(dtype).
void DecodeElements(DType dtype, std::span<const std::byte> encoded, std::span<float> values);
void DecodeElementsReference(DType dtype, std::span<const std::byte> encoded,
                             std::span<float> values);

// Writes floats as elements of `dtype` at any alignment, rounded to nearest, ties to
// even; beyond the type's range they become infinity. NaN stays NaN.
//
// Requires: encoded.size() == values.size() * ElementBytes(dtype).
void EncodeElements(std::span<const float> values, DType dtype, std::span<std::byte> encoded);
void EncodeElementsReference(std::span<const float> values, DType dtype,
                             std::span<std::byte> encoded);

// True if no element is NaN or infinite. Any alignment.
//
// Requires: encoded.size() is a multiple of ElementBytes(dtype).
bool AllFinite(DType dtype, std::span<const std::byte> encoded);
bool AllFiniteReference(DType dtype, std::span<const std::byte> encoded);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_ENCODING_H_
