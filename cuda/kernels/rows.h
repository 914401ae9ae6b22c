// Rows of stored keys or values that a device can read.

#ifndef ALAYA_CUDA_KERNELS_ROWS_H_
#define ALAYA_CUDA_KERNELS_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "storage/types/dtype.h"

namespace alaya {

// Device memory, or pinned host memory that the device reads over the bus.
//
// Requires: data and stride_bytes are multiples of 16, rows as well.
struct DeviceRows {
  const std::byte* data = nullptr;
  size_t stride_bytes = 0;  // from one row to the next
  DType dtype = DType::kBF16;

  constexpr const std::byte* row(size_t i) const { return data + i * stride_bytes; }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROWS_H_
