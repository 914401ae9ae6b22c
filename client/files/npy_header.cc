#include "client/files/npy_header.h"

#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

namespace alaya::client {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kHeaderBytesMax = size_t{1} << 20;
constexpr size_t kDimensionsMax = 32;  // NumPy's own limit

// What NumPy writes for each element type. Little-endian only; 'V2' is how NumPy saves
// ml_dtypes.bfloat16, which it does not know itself.
constexpr std::array<std::pair<std::string_view, ElementType>, 15> kDescriptors = {{
    {"<f2", ElementType::kF16},
    {"<f4", ElementType::kF32},
    {"<f8", ElementType::kF64},
    {"<V2", ElementType::kBF16},
    {"|V2", ElementType::kBF16},
    {"|i1", ElementType::kI8},
    {"<i1", ElementType::kI8},
    {"|u1", ElementType::kU8},
    {"<u1", ElementType::kU8},
    {"<i2", ElementType::kI16},
    {"<u2", ElementType::kU16},
    {"<i4", ElementType::kI32},
    {"<u4", ElementType::kU32},
    {"<i8", ElementType::kI64},
    {"<u8", ElementType::kU64},
}};

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads a Python literal from its front; each method leaves the text alone if it fails.
class LiteralScanner {
 public:
  explicit LiteralScanner(std::string_view text) : text_(text) {}

  bool Take(char expected) {
    SkipSpace();
    if (text_.empty() || text_.front() != expected) return false;
    text_.remove_prefix(1);
    return true;
  }

  // A quoted string without escapes.
  std::optional<std::string_view> TakeString() {
    SkipSpace();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) return std::nullopt;
    const size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view content = text_.substr(1, end - 1);
    if (content.find('\\') != std::string_view::npos) return std::nullopt;
    text_.remove_prefix(end + 1);
    return content;
  }

  std::optional<bool> TakeBool() {
    SkipSpace();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.starts_with(word)) {
        text_.remove_prefix(word.size());
        return value;
      }
    }
    return std::nullopt;
  }

  std::optional<uint64_t> TakeNumber() {
    SkipSpace();
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    if (error != std::errc()) return std::nullopt;
    text_.remove_prefix(static_cast<size_t>(end - text_.data()));
    return number;
  }

  // (), (3,) or (3, 4) with or without a last comma.
  std::optional<std::vector<uint64_t>> TakeTuple() {
    if (!Take('(')) return std::nullopt;
    std::vector<uint64_t> numbers;
    while (!Take(')')) {
      const auto number = TakeNumber();
      if (!number.has_value() || numbers.size() == kDimensionsMax) return std::nullopt;
      numbers.push_back(*number);
      if (Take(',')) continue;
      // One number in brackets is no tuple in Python.
      if (numbers.size() == 1 || !Take(')')) return std::nullopt;
      return numbers;
    }
    return numbers;
  }

  bool AtEnd() {
    SkipSpace();
    return text_.empty();
  }

 private:
  void SkipSpace() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) {
      text_.remove_prefix(1);
    }
  }

  std::string_view text_;
};

struct HeaderFields {
  std::optional<std::string_view> descriptor;
  std::optional<bool> fortran_order;
  std::optional<std::vector<uint64_t>> shape;
};

// Every field exactly once, none unknown.
bool TakeField(LiteralScanner& scanner, HeaderFields& fields) {
  const auto key = scanner.TakeString();
  if (!key.has_value() || !scanner.Take(':')) return false;
  if (*key == "descr" && !fields.descriptor.has_value()) {
    return (fields.descriptor = scanner.TakeString()).has_value();
  }
  if (*key == "fortran_order" && !fields.fortran_order.has_value()) {
    return (fields.fortran_order = scanner.TakeBool()).has_value();
  }
  if (*key == "shape" && !fields.shape.has_value()) {
    return (fields.shape = scanner.TakeTuple()).has_value();
  }
  return false;
}

// A dict with all of its fields.
struct HeaderDict {
  std::string_view descriptor;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
};

std::optional<HeaderDict> ParseDict(std::string_view text) {
  LiteralScanner scanner(text);
  HeaderFields fields;
  if (!scanner.Take('{')) return std::nullopt;
  while (!scanner.Take('}')) {
    if (!TakeField(scanner, fields)) return std::nullopt;
    if (scanner.Take(',')) continue;
    if (!scanner.Take('}')) return std::nullopt;
    break;
  }
  if (!fields.descriptor.has_value() || !fields.fortran_order.has_value() ||
      !fields.shape.has_value() || !scanner.AtEnd()) {
    return std::nullopt;
  }
  return HeaderDict{*fields.descriptor, *fields.fortran_order, *std::move(fields.shape)};
}

std::optional<ElementType> TypeOf(std::string_view descriptor) {
  for (const auto& [text, type] : kDescriptors) {
    if (text == descriptor) return type;
  }
  return std::nullopt;
}

// Where the dict begins: after magic, version and length.
size_t DictOffset(std::span<const std::byte> header) {
  return std::to_integer<uint8_t>(header[6]) == 1 ? 10 : 12;
}

}  // namespace

StatusOr<size_t> NpyHeaderBytes(std::span<const std::byte> preamble) {
  if (preamble.size() < kNpyPreambleBytes || !AsText(preamble).starts_with(kMagic)) {
    return InvalidArgument("not an .npy array");
  }
  const auto major = std::to_integer<uint32_t>(preamble[6]);
  if (major < 1 || major > 3) {
    return InvalidArgument(".npy format version " + std::to_string(major) + ": 1 to 3 are known");
  }
  size_t dict_bytes = 0;
  for (size_t i = DictOffset(preamble); i > 8; --i) {
    dict_bytes = (dict_bytes << 8) | std::to_integer<size_t>(preamble[i - 1]);
  }
  if (dict_bytes > kHeaderBytesMax) {
    return InvalidArgument(".npy header of " + std::to_string(dict_bytes) + " bytes, limit " +
                           std::to_string(kHeaderBytesMax));
  }
  // A header shorter than the preamble cannot hold a dict.
  if (DictOffset(preamble) + dict_bytes < kNpyPreambleBytes) {
    return InvalidArgument(".npy header of " + std::to_string(dict_bytes) + " bytes");
  }
  return DictOffset(preamble) + dict_bytes;
}

StatusOr<NpyHeader> ParseNpyHeader(std::span<const std::byte> header) {
  const auto dict = ParseDict(AsText(header.subspan(DictOffset(header))));
  if (!dict.has_value()) return InvalidArgument("malformed .npy header");
  const auto type = TypeOf(dict->descriptor);
  if (!type.has_value()) {
    return InvalidArgument("element type '" + std::string(dict->descriptor) +
                           "': only little-endian numbers of known types are read");
  }
  if (dict->fortran_order && dict->shape.size() > 1) {
    return InvalidArgument(
        "column-major (Fortran order) array; save it with "
        "numpy.ascontiguousarray");
  }
  NpyHeader result{*type, dict->shape, 0};
  ALAYA_ASSIGN_OR_RETURN(result.data_bytes, ArrayBytes(result.type, result.shape));
  return result;
}

std::string MakeNpyHeader(std::span<const uint64_t> shape) {
  std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (const uint64_t dimension : shape) dict += std::to_string(dimension) + ", ";
  dict += "), }";
  constexpr size_t kAlignment = 64;
  constexpr size_t kPrefixBytes = 10;
  dict.append(kAlignment - (kPrefixBytes + dict.size() + 1) % kAlignment, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += '\x01';
  header += '\x00';
  header += static_cast<char>(dict.size() & 0xFF);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

}  // namespace alaya::client
