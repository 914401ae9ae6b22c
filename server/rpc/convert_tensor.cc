#include "server/rpc/convert_tensor.h"

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "server/rpc/status_details.h"

namespace alaya {
namespace {

constexpr int kRank = 3;

std::string ShapeText(const v1::Tensor& tensor) {
  std::string text = "shape [";
  // A hostile shape may have millions of dimensions.
  constexpr int kShownMax = 8;
  for (int i = 0; i < tensor.shape_size() && i < kShownMax; ++i) {
    if (i > 0) text += ",";
    text += std::to_string(tensor.shape(i));
  }
  return text + (tensor.shape_size() > kShownMax ? ",...]" : "]");
}

std::string ShapeText(const TensorView& tensor) {
  return "shape [" + std::to_string(tensor.tokens) + "," + std::to_string(tensor.heads) + "," +
         std::to_string(tensor.dim) + "]";
}

}  // namespace

StatusOr<DType> FromProto(v1::DType dtype, const FieldPath& field) {
  switch (dtype) {
    case v1::DTYPE_F32:
      return DType::kF32;
    case v1::DTYPE_F16:
      return DType::kF16;
    case v1::DTYPE_BF16:
      return DType::kBF16;
    default:
      return RequestError("DTYPE_UNKNOWN", field,
                          "dtype " + std::to_string(static_cast<int>(dtype)) +
                              ", allowed are DTYPE_F32, DTYPE_F16 and DTYPE_BF16");
  }
}

StatusOr<TensorView> FromProto(const v1::Tensor& tensor, const FieldPath& field) {
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, FromProto(tensor.dtype(), field));
  if (tensor.shape_size() != kRank) {
    return RequestError("TENSOR_SHAPE", field,
                        ShapeText(tensor) + " has " + std::to_string(tensor.shape_size()) +
                            " dimensions, [tokens, heads, head_dim] has 3");
  }
  const size_t data_bytes = tensor.data().size();
  size_t expected_bytes = ElementBytes(dtype);
  for (const int64_t dimension : tensor.shape()) {
    if (dimension < 1) {
      return RequestError("TENSOR_SHAPE", field,
                          ShapeText(tensor) + ": every dimension must be at least 1");
    }
    size_t product = 0;
    if (__builtin_mul_overflow(expected_bytes, static_cast<size_t>(dimension), &product)) {
      return RequestError("TENSOR_SHAPE", field, ShapeText(tensor) + " is larger than any message");
    }
    expected_bytes = product;
  }
  if (data_bytes != expected_bytes) {
    return RequestError("TENSOR_DATA_LENGTH", field,
                        "data has " + std::to_string(data_bytes) + " bytes, " + ShapeText(tensor) +
                            " of " + std::string(Name(dtype)) + " takes " +
                            std::to_string(expected_bytes));
  }
  return TensorView{.dtype = dtype,
                    .tokens = static_cast<size_t>(tensor.shape(0)),
                    .heads = static_cast<size_t>(tensor.shape(1)),
                    .dim = static_cast<size_t>(tensor.shape(2)),
                    .data = std::as_bytes(std::span(tensor.data()))};
}

Status CheckSameShape(const TensorView& a, const FieldPath& a_field, const TensorView& b,
                      const FieldPath& b_field) {
  if (a.dtype != b.dtype) {
    return RequestError("TENSOR_MISMATCH", a_field,
                        "dtype " + std::string(Name(a.dtype)) + ", " + b_field.ToString() +
                            " has " + std::string(Name(b.dtype)));
  }
  if (a.tokens != b.tokens || a.heads != b.heads || a.dim != b.dim) {
    return RequestError("TENSOR_MISMATCH", a_field,
                        ShapeText(a) + ", " + b_field.ToString() + " has " + ShapeText(b));
  }
  return OkStatus();
}

v1::DType ToProto(DType dtype) { return static_cast<v1::DType>(dtype); }

void ToProto(DType dtype, std::initializer_list<uint64_t> shape, std::string data,
             v1::Tensor* tensor) {
  tensor->set_dtype(ToProto(dtype));
  for (const uint64_t dimension : shape) tensor->add_shape(static_cast<int64_t>(dimension));
  tensor->set_data(std::move(data));
}

}  // namespace alaya
