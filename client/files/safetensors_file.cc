// A .safetensors file:
//
//   header length u64, little-endian | header: JSON, {"name": {"dtype": "BF16",
//   "shape": [3, 4], "data_offsets": [begin, end]}, …, "__metadata__": {…}} | data
//
// Offsets count from the first byte of data. Source: the format's own README.

#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "client/files/array_file.h"
#include "client/files/file_reader.h"

namespace alaya::client {
namespace {

using nlohmann::json;

constexpr uint64_t kHeaderBytesMax = 100'000'000;  // the reference implementation's limit

constexpr std::array<std::pair<std::string_view, ElementType>, 12> kTypes = {{
    {"F16", ElementType::kF16},
    {"F32", ElementType::kF32},
    {"F64", ElementType::kF64},
    {"BF16", ElementType::kBF16},
    {"I8", ElementType::kI8},
    {"U8", ElementType::kU8},
    {"I16", ElementType::kI16},
    {"U16", ElementType::kU16},
    {"I32", ElementType::kI32},
    {"U32", ElementType::kU32},
    {"I64", ElementType::kI64},
    {"U64", ElementType::kU64},
}};

// The numbers of a JSON array of whole numbers >= 0.
std::optional<std::vector<uint64_t>> Numbers(const json& entry, const char* field) {
  const auto found = entry.find(field);
  if (found == entry.end() || !found->is_array()) return std::nullopt;
  std::vector<uint64_t> numbers;
  for (const json& element : *found) {
    if (!element.is_number_unsigned()) return std::nullopt;
    numbers.push_back(element.get<uint64_t>());
  }
  return numbers;
}

StatusOr<ElementType> TypeOf(const json& entry) {
  const auto found = entry.find("dtype");
  if (found == entry.end() || !found->is_string()) return InvalidArgument("no dtype");
  const auto& text = found->get_ref<const std::string&>();
  for (const auto& [name, type] : kTypes) {
    if (name == text) return type;
  }
  return InvalidArgument("dtype '" + text + "' is not known");
}

struct Placed {
  ArrayInfo info;
  uint64_t begin = 0;
};

StatusOr<Placed> ParseEntry(const std::string& name, const json& entry, uint64_t data_bytes) {
  if (!entry.is_object()) return InvalidArgument("its header is no object");
  ALAYA_ASSIGN_OR_RETURN(const ElementType type, TypeOf(entry));
  auto shape = Numbers(entry, "shape");
  if (!shape.has_value()) return InvalidArgument("shape is no list of sizes");
  ALAYA_ASSIGN_OR_RETURN(const uint64_t bytes, ArrayBytes(type, *shape));
  const auto offsets = Numbers(entry, "data_offsets");
  if (!offsets.has_value() || offsets->size() != 2) {
    return InvalidArgument("data_offsets is no pair of offsets");
  }
  const uint64_t begin = (*offsets)[0];
  const uint64_t end = (*offsets)[1];
  if (begin > end || end > data_bytes) {
    return InvalidArgument("data_offsets [" + std::to_string(begin) + "," + std::to_string(end) +
                           "] lie outside the data of " + std::to_string(data_bytes) + " bytes");
  }
  if (end - begin != bytes) {
    return InvalidArgument("shape " + ShapeText(*shape) + " needs " + std::to_string(bytes) +
                           " bytes, data_offsets span " + std::to_string(end - begin));
  }
  return Placed{ArrayInfo{name, type, *std::move(shape), bytes}, begin};
}

class SafetensorsFile : public ArrayFile {
 public:
  static StatusOr<std::unique_ptr<ArrayFile>> Open(const std::string& path) {
    ALAYA_ASSIGN_OR_RETURN(FileReader file, FileReader::Open(path));
    std::array<std::byte, sizeof(uint64_t)> length_bytes;
    ALAYA_RETURN_IF_ERROR(file.ReadAt(0, length_bytes));
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, length_bytes.data(), sizeof(header_bytes));
    const uint64_t rest_bytes = file.size_bytes() - sizeof(header_bytes);
    if (header_bytes > rest_bytes || header_bytes > kHeaderBytesMax) {
      return InvalidArgument("header of " + std::to_string(header_bytes) + " bytes, the file has " +
                             std::to_string(rest_bytes));
    }
    std::string text(header_bytes, '\0');
    ALAYA_RETURN_IF_ERROR(
        file.ReadAt(sizeof(header_bytes), std::as_writable_bytes(std::span(text))));
    const json header = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) return InvalidArgument("the header is no JSON object");
    std::unique_ptr<SafetensorsFile> result(
        new SafetensorsFile(std::move(file), sizeof(header_bytes) + header_bytes));
    ALAYA_RETURN_IF_ERROR(result->PlaceArrays(header, rest_bytes - header_bytes));
    return result;
  }

  StatusOr<std::unique_ptr<ArrayReader>> OpenArray(const ArrayInfo& info) const override {
    return std::make_unique<FileRangeReader>(&file_, data_offset_ + begins_.at(info.name),
                                             info.bytes);
  }

 private:
  SafetensorsFile(FileReader file, uint64_t data_offset)
      : file_(std::move(file)), data_offset_(data_offset) {}

  Status PlaceArrays(const json& header, uint64_t data_bytes) {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      StatusOr<Placed> placed = ParseEntry(name, entry, data_bytes);
      if (!placed.ok()) return Annotate(placed.status(), "array '" + name + "'");
      begins_.emplace(name, placed->begin);
      AddArray(std::move(placed->info));
    }
    return OkStatus();
  }

  FileReader file_;
  uint64_t data_offset_;
  std::map<std::string, uint64_t> begins_;
};

}  // namespace

StatusOr<std::unique_ptr<ArrayFile>> OpenSafetensors(const std::string& path) {
  return SafetensorsFile::Open(path);
}

}  // namespace alaya::client
