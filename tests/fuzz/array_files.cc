// Files of arrays that somebody else wrote: .npy, .npz and .safetensors.
//
// The first byte chooses the format, the rest is the file.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/files/array_file.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/require.h"

namespace alaya::client {
namespace {

// A compressed array of a small file may be large: only its beginning is read.
constexpr uint64_t kReadBytesMax = uint64_t{1} << 20;

enum class Format : uint8_t { kNpy, kNpz, kSafetensors };

StatusOr<std::unique_ptr<ArrayFile>> Open(Format format, const std::string& path) {
  switch (format) {
    case Format::kNpy:
      return OpenNpy(path);
    case Format::kNpz:
      return OpenNpz(path);
    case Format::kSafetensors:
      break;
  }
  return OpenSafetensors(path);
}

void ReadArrays(Format format, const ArrayFile& file) {
  for (const ArrayInfo& info : file.arrays()) {
    const auto bytes = ArrayBytes(info.type, info.shape);
    Require(bytes.ok() && *bytes == info.bytes);
    Require(file.Find(info.name) != nullptr);
    const auto reader = file.OpenArray(info);
    if (!reader.ok()) continue;
    std::vector<std::byte> begin(std::min(info.bytes, kReadBytesMax));
    const Status read = (*reader)->Read(begin);
    // Sizes were checked against the file; only compressed data can still be damaged.
    Require(read.ok() || format == Format::kNpz);
  }
}

}  // namespace
}  // namespace alaya::client

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using alaya::client::Format;
  if (size == 0) return 0;
  const auto format = static_cast<Format>(data[0] % 3);
  const alaya::MemoryFile memory({reinterpret_cast<const char*>(data) + 1, size - 1});
  const auto file = Open(format, memory.path());
  if (file.ok()) ReadArrays(format, **file);
  return 0;
}
