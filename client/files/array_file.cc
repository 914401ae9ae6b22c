#include "client/files/array_file.h"

#include <limits>

namespace alaya::client {

size_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kI8:
    case ElementType::kU8:
      return 1;
    case ElementType::kF16:
    case ElementType::kBF16:
    case ElementType::kI16:
    case ElementType::kU16:
      return 2;
    case ElementType::kF32:
    case ElementType::kI32:
    case ElementType::kU32:
      return 4;
    case ElementType::kF64:
    case ElementType::kI64:
    case ElementType::kU64:
      return 8;
  }
  return 0;
}

std::string_view Name(ElementType type) {
  switch (type) {
    case ElementType::kF16:
      return "f16";
    case ElementType::kF32:
      return "f32";
    case ElementType::kF64:
      return "f64";
    case ElementType::kBF16:
      return "bf16";
    case ElementType::kI8:
      return "i8";
    case ElementType::kU8:
      return "u8";
    case ElementType::kI16:
      return "i16";
    case ElementType::kU16:
      return "u16";
    case ElementType::kI32:
      return "i32";
    case ElementType::kU32:
      return "u32";
    case ElementType::kI64:
      return "i64";
    case ElementType::kU64:
      return "u64";
  }
  return "unknown";
}

StatusOr<uint64_t> ArrayBytes(ElementType type, std::span<const uint64_t> shape) {
  // File offsets are signed.
  constexpr uint64_t kBytesMax = std::numeric_limits<int64_t>::max();
  uint64_t bytes = ElementBytes(type);
  for (const uint64_t dimension : shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes) || bytes > kBytesMax) {
      return InvalidArgument("shape " + ShapeText(shape) + " is too large");
    }
  }
  return bytes;
}

std::string ShapeText(std::span<const uint64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ",";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

StatusOr<std::unique_ptr<ArrayFile>> ArrayFile::Open(const std::string& path) {
  StatusOr<std::unique_ptr<ArrayFile>> file = path.ends_with(".npz")   ? OpenNpz(path)
                                              : path.ends_with(".npy") ? OpenNpy(path)
                                              : path.ends_with(".safetensors")
                                                  ? OpenSafetensors(path)
                                                  : InvalidArgument(
                                                        "unknown extension; "
                                                        ".npz, .npy or .safetensors expected");
  if (!file.ok()) return Annotate(file.status(), path);
  return file;
}

const ArrayInfo* ArrayFile::Find(std::string_view name) const {
  for (const ArrayInfo& info : arrays_) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

}  // namespace alaya::client
