// Named arrays in a file that somebody else wrote: .npz, .npy or .safetensors.
//
// Only headers are held in memory; elements are read forward, piece by piece, so a
// file may be larger than RAM. Nothing in a file is trusted: sizes are checked against
// each other and against the file before they are used.

#ifndef ALAYA_CLIENT_FILES_ARRAY_FILE_H_
#define ALAYA_CLIENT_FILES_ARRAY_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/types/status.h"

namespace alaya::client {

enum class ElementType : uint8_t {
  kF16,
  kF32,
  kF64,
  kBF16,
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64
};

size_t ElementBytes(ElementType type);
std::string_view Name(ElementType type);  // for example "f32"

struct ArrayInfo {
  std::string name;
  ElementType type = ElementType::kF32;
  std::vector<uint64_t> shape;  // row-major
  uint64_t bytes = 0;           // of all elements
};

// The bytes of an array of this type and shape; an error if no file could hold them.
StatusOr<uint64_t> ArrayBytes(ElementType type, std::span<const uint64_t> shape);
std::string ShapeText(std::span<const uint64_t> shape);  // for example "[4,8,128]"

// Reads one array's bytes from its first to its last. Not thread-safe.
class ArrayReader {
 public:
  virtual ~ArrayReader() = default;
  // Fills the whole buffer. Errors: DataLoss if the file ends before, or where the
  //   file carries a checksum that does not match.
  virtual Status Read(std::span<std::byte> buffer) = 0;
  virtual Status Skip(uint64_t bytes) = 0;
};

// Readers must not outlive their file. Not thread-safe.
class ArrayFile {
 public:
  // The format follows from the extension. The one array of an .npy file has an empty name.
  //
  // Errors: NotFound; InvalidArgument for what is not a well-formed file of its format.
  static StatusOr<std::unique_ptr<ArrayFile>> Open(const std::string& path);

  virtual ~ArrayFile() = default;
  const std::vector<ArrayInfo>& arrays() const { return arrays_; }
  // Null if there is none.
  const ArrayInfo* Find(std::string_view name) const;
  // `info` must be one of arrays().
  virtual StatusOr<std::unique_ptr<ArrayReader>> OpenArray(const ArrayInfo& info) const = 0;

 protected:
  void AddArray(ArrayInfo info) { arrays_.push_back(std::move(info)); }

 private:
  std::vector<ArrayInfo> arrays_;
};

// One per format; Open calls them.
StatusOr<std::unique_ptr<ArrayFile>> OpenNpy(const std::string& path);
StatusOr<std::unique_ptr<ArrayFile>> OpenNpz(const std::string& path);
StatusOr<std::unique_ptr<ArrayFile>> OpenSafetensors(const std::string& path);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_FILES_ARRAY_FILE_H_
