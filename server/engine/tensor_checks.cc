#include "server/engine/tensor_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <vector>

#include "index/kernels/encoding.h"

namespace alaya {
namespace {

std::string Shape(const TensorView& tensor) {
  return fmt::format("[{},{},{}]", tensor.tokens, tensor.heads, tensor.dim);
}

Status CheckShape(std::string_view name, const TensorView& tensor, const Model& model,
                  std::string_view head_kind, size_t head_count) {
  if (tensor.heads != head_count) {
    return InvalidArgument(fmt::format("{} shape {}: model '{}' has {} {} heads", name,
                                       Shape(tensor), model.name, head_count, head_kind));
  }
  if (tensor.dim != model.head_dim) {
    return InvalidArgument(fmt::format("{} shape {}: model '{}' has head_dim {}", name,
                                       Shape(tensor), model.name, model.head_dim));
  }
  return OkStatus();
}

Status CheckTokensAndBytes(std::string_view name, const TensorView& tensor, uint64_t tokens_max) {
  if (tensor.tokens == 0 || tensor.tokens > tokens_max) {
    return InvalidArgument(
        fmt::format("{} shape {}: must have 1 to {} tokens", name, Shape(tensor), tokens_max));
  }
  const size_t bytes = tensor.tokens * tensor.heads * tensor.dim * ElementBytes(tensor.dtype);
  if (tensor.data.size() != bytes) {
    return InvalidArgument(fmt::format("{} has {} bytes of data: shape {} of {} needs {}", name,
                                       tensor.data.size(), Shape(tensor), Name(tensor.dtype),
                                       bytes));
  }
  return OkStatus();
}

Status CheckFinite(std::string_view name, const TensorView& tensor) {
  if (AllFinite(tensor.dtype, tensor.data)) return OkStatus();
  const size_t row_bytes = tensor.dim * ElementBytes(tensor.dtype);
  size_t row = 0;
  while (AllFinite(tensor.dtype, tensor.data.subspan(row * row_bytes, row_bytes))) ++row;
  return InvalidArgument(fmt::format("{} holds NaN or infinity at token {}, head {}", name,
                                     row / tensor.heads, row % tensor.heads));
}

}  // namespace

Status CheckQuery(std::string_view name, const TensorView& tensor, const Model& model,
                  uint64_t tokens_max) {
  if (Name(tensor.dtype) == "unknown") {
    return InvalidArgument(
        fmt::format("{} dtype {} is unknown", name, static_cast<int>(tensor.dtype)));
  }
  ALAYA_RETURN_IF_ERROR(CheckShape(name, tensor, model, "query", model.num_query_heads));
  ALAYA_RETURN_IF_ERROR(CheckTokensAndBytes(name, tensor, tokens_max));
  return CheckFinite(name, tensor);
}

Status CheckKeyOrValue(std::string_view name, const TensorView& tensor, const Model& model,
                       uint64_t tokens_max) {
  if (tensor.dtype != model.dtype) {
    return InvalidArgument(fmt::format("{} dtype {}: model '{}' stores {}", name,
                                       Name(tensor.dtype), model.name, Name(model.dtype)));
  }
  ALAYA_RETURN_IF_ERROR(CheckShape(name, tensor, model, "kv", model.num_kv_heads));
  ALAYA_RETURN_IF_ERROR(CheckTokensAndBytes(name, tensor, tokens_max));
  return CheckFinite(name, tensor);
}

StatusOr<std::string> ConvertElements(std::string_view name, const TensorView& tensor,
                                      DType dtype) {
  if (tensor.dtype == dtype) {
    return std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  const size_t element_count = tensor.data.size() / ElementBytes(tensor.dtype);
  std::vector<float> values(element_count);
  DecodeElements(tensor.dtype, tensor.data, values);
  std::string converted(element_count * ElementBytes(dtype), '\0');
  const auto bytes = std::as_writable_bytes(std::span(converted));
  EncodeElements(values, dtype, bytes);
  if (AllFinite(dtype, bytes)) return converted;
  return InvalidArgument(fmt::format("{} of {} has an element beyond the range of the model's {}",
                                     name, Name(tensor.dtype), Name(dtype)));
}

}  // namespace alaya
