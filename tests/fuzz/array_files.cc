// Files of arrays that somebody else wrote: .npy, .npz and .safetensors.
//
// The first byte chooses the format, the rest is the file.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/files/array_file.h"

namespace alaya::client {
namespace {

// A compressed array of a small file may be large: only its beginning is read.
constexpr uint64_t kReadBytesMax = uint64_t{1} << 20;

void Require(bool condition) {
  if (!condition) std::abort();
}

// A file in memory; the readers open it by path like any other.
class MemoryFile {
 public:
  explicit MemoryFile(std::span<const uint8_t> bytes) : descriptor_(memfd_create("input", 0)) {
    Require(descriptor_ >= 0);
    while (!bytes.empty()) {
      const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
      Require(written > 0);
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

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
  const alaya::client::MemoryFile memory({data + 1, size - 1});
  const auto file = Open(format, memory.path());
  if (file.ok()) ReadArrays(format, **file);
  return 0;
}
