// Tensors of the API from the caller's arrays, and back.
//
// The wire form is row-major, little-endian and contiguous; so is the memory of the
// machines that this runs on.

#ifndef ALAYA_CLIENT_TENSOR_H_
#define ALAYA_CLIENT_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "alaya/v1/tensor.pb.h"
#include "storage/types/dtype.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya::client {

namespace pb = ::alaya::v1;

using ::alaya::TensorView;

inline std::span<const std::byte> AsBytes(std::span<const float> elements) {
  return std::as_bytes(elements);
}
// Elements of F16 or BF16, as their bits.
inline std::span<const std::byte> AsBytes(std::span<const uint16_t> elements) {
  return std::as_bytes(elements);
}
inline std::span<const std::byte> AsBytes(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

// F16 and BF16 round to nearest, ties to even; what F16 cannot hold becomes infinite.
std::string EncodeElements(std::span<const float> elements, DType dtype);
// Requires: bytes.size() is a multiple of the element's size.
std::vector<float> DecodeElements(std::span<const std::byte> bytes, DType dtype);

// The numbers are equal; DTYPE_UNSPECIFIED and unknown ones are an error.
pb::DType ToProto(DType dtype);
StatusOr<DType> FromProto(pb::DType dtype);

// Errors: InvalidArgument if `data` does not hold tokens * heads * dim elements.
StatusOr<pb::Tensor> MakeTensor(const TensorView& view);
// Converts from float to `dtype` on the way.
StatusOr<pb::Tensor> MakeTensor(std::span<const float> elements, size_t tokens, size_t heads,
                                size_t dim, DType dtype = DType::kF32);

// A view of a [T, H, D] tensor, which must outlive it.
//
// Errors: InvalidArgument unless shape, dtype and bytes agree.
StatusOr<TensorView> ViewTensor(const pb::Tensor& tensor);

// All elements of a tensor of any rank, as floats. Errors: as ViewTensor.
StatusOr<std::vector<float>> ToFloats(const pb::Tensor& tensor);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_TENSOR_H_
