// Element types of stored keys and values. The numbers are stored on disk and
// equal those of the API's DType.

#ifndef ALAYA_STORAGE_TYPES_DTYPE_H_
#define ALAYA_STORAGE_TYPES_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace alaya {

enum class DType : uint8_t {
  kF32 = 1,
  kF16 = 2,   // IEEE half
  kBF16 = 3,  // the upper half of an F32
};

constexpr size_t ElementBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

constexpr std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
  }
  return "unknown";
}

}  // namespace alaya

#endif  // ALAYA_STORAGE_TYPES_DTYPE_H_
