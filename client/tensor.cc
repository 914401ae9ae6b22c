#include "client/tensor.h"

#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <optional>

namespace alaya::client {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire form is little-endian");

uint16_t ToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  const uint32_t round_to_even = 0x7FFFU + ((bits >> 16) & 1U);
  return static_cast<uint16_t>((bits + round_to_even) >> 16);
}

float FromBFloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t ToHalf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  constexpr uint32_t kInfinity = 0x7F800000U;
  constexpr uint32_t kOverflows = 0x477FF000U;       // 65520: rounds to 2^16
  constexpr uint32_t kSmallestNormal = 0x38800000U;  // 2^-14
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7E00U);
  if (magnitude >= kOverflows) return static_cast<uint16_t>(sign | 0x7C00U);
  if (magnitude < kSmallestNormal) {
    // Adding 0.5 aligns the last bit of the sum with a subnormal half's, 2^-24, and rounds there.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3F000000U));
  }
  constexpr uint32_t kExponentRebias = (127U - 15U) << 23;
  const uint32_t round_to_even = 0xFFFU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((magnitude - kExponentRebias + round_to_even) >> 13));
}

float FromHalf(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1FU;
  const uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

// Product of the factors; none on overflow.
std::optional<uint64_t> Product(std::initializer_list<uint64_t> factors) {
  uint64_t product = 1;
  for (const uint64_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) return std::nullopt;
  }
  return product;
}

std::string ShapeText(const pb::Tensor& tensor) {
  std::string text = "[";
  for (const int64_t dimension : tensor.shape()) {
    if (text.size() > 1) text += ",";
    text += std::to_string(dimension);
  }
  return text + "]";
}

// Checks that shape, dtype and bytes of a tensor agree.
StatusOr<DType> CheckTensor(const pb::Tensor& tensor) {
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, FromProto(tensor.dtype()));
  uint64_t bytes = ElementBytes(dtype);
  for (const int64_t dimension : tensor.shape()) {
    if (dimension < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(dimension), &bytes)) {
      return InvalidArgument("tensor shape " + ShapeText(tensor) + ": not a size");
    }
  }
  if (bytes != tensor.data().size()) {
    return InvalidArgument("tensor shape " + ShapeText(tensor) + " of " + std::string(Name(dtype)) +
                           ": needs " + std::to_string(bytes) + " bytes, has " +
                           std::to_string(tensor.data().size()));
  }
  return dtype;
}

}  // namespace

std::string EncodeElements(std::span<const float> elements, DType dtype) {
  std::string bytes(elements.size() * ElementBytes(dtype), '\0');
  if (dtype == DType::kF32) {
    if (!elements.empty()) std::memcpy(bytes.data(), elements.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < elements.size(); ++i) {
    const uint16_t bits = dtype == DType::kF16 ? ToHalf(elements[i]) : ToBFloat16(elements[i]);
    std::memcpy(&bytes[2 * i], &bits, sizeof(bits));
  }
  return bytes;
}

std::vector<float> DecodeElements(std::span<const std::byte> bytes, DType dtype) {
  assert(bytes.size() % ElementBytes(dtype) == 0);
  std::vector<float> elements(bytes.size() / ElementBytes(dtype));
  if (elements.empty()) return elements;
  if (dtype == DType::kF32) {
    std::memcpy(elements.data(), bytes.data(), bytes.size());
    return elements;
  }
  for (size_t i = 0; i < elements.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, &bytes[2 * i], sizeof(bits));
    elements[i] = dtype == DType::kF16 ? FromHalf(bits) : FromBFloat16(bits);
  }
  return elements;
}

pb::DType ToProto(DType dtype) { return static_cast<pb::DType>(dtype); }

StatusOr<DType> FromProto(pb::DType dtype) {
  switch (dtype) {
    case pb::DTYPE_F32:
      return DType::kF32;
    case pb::DTYPE_F16:
      return DType::kF16;
    case pb::DTYPE_BF16:
      return DType::kBF16;
    default:
      return InvalidArgument("dtype " + std::to_string(dtype) +
                             ": not one of 1 (f32), 2 (f16), 3 (bf16)");
  }
}

StatusOr<pb::Tensor> MakeTensor(const TensorView& view) {
  const auto bytes = Product({view.tokens, view.heads, view.dim, ElementBytes(view.dtype)});
  if (!bytes.has_value() || *bytes != view.data.size()) {
    return InvalidArgument("array of shape [" + std::to_string(view.tokens) + "," +
                           std::to_string(view.heads) + "," + std::to_string(view.dim) + "], " +
                           std::string(Name(view.dtype)) + ", has " +
                           std::to_string(view.data.size()) + " bytes");
  }
  pb::Tensor tensor;
  tensor.set_dtype(ToProto(view.dtype));
  for (const size_t dimension : {view.tokens, view.heads, view.dim}) {
    tensor.add_shape(static_cast<int64_t>(dimension));
  }
  tensor.set_data(view.data.data(), view.data.size());
  return tensor;
}

StatusOr<pb::Tensor> MakeTensor(std::span<const float> elements, size_t tokens, size_t heads,
                                size_t dim, DType dtype) {
  const std::string bytes = EncodeElements(elements, dtype);
  return MakeTensor(TensorView{dtype, tokens, heads, dim, AsBytes(bytes)});
}

StatusOr<TensorView> ViewTensor(const pb::Tensor& tensor) {
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, CheckTensor(tensor));
  if (tensor.shape_size() != 3) {
    return InvalidArgument("tensor shape " + ShapeText(tensor) + ": [tokens,heads,dim] expected");
  }
  return TensorView{dtype, static_cast<size_t>(tensor.shape(0)),
                    static_cast<size_t>(tensor.shape(1)), static_cast<size_t>(tensor.shape(2)),
                    AsBytes(tensor.data())};
}

StatusOr<std::vector<float>> ToFloats(const pb::Tensor& tensor) {
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, CheckTensor(tensor));
  return DecodeElements(AsBytes(tensor.data()), dtype);
}

}  // namespace alaya::client
