// Files of a context, as `alayactl context import` reads them: which arrays they need, and
// whether these fit together.
//
// The first byte chooses .npz or .safetensors, the rest is the file.

#include "client/files/context_file.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "client/files/array_file.h"
#include "tests/fuzz/require.h"

namespace alaya::client {
namespace {

namespace fs = std::filesystem;

// A compressed array of a small file may be large: only its beginning is read.
constexpr size_t kReadBytesMax = size_t{1} << 20;

std::string Path(const char* extension) {
  const fs::path directory =
      fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
  return directory / ("fuzz-context-" + std::to_string(getpid()) + extension);
}

void FuzzOne(bool is_npz, std::string_view bytes) {
  const std::string path = Path(is_npz ? ".npz" : ".safetensors");
  {
    std::ofstream stream(path, std::ios::binary | std::ios::trunc);
    stream << bytes;
  }
  const auto file = ContextFile::Open(path);
  if (file.ok()) {
    Require(file->num_layers() > 0 && file->num_kv_heads() > 0 && file->head_dim() > 0);
    const size_t token_bytes =
        size_t{file->num_kv_heads()} * file->head_dim() * ElementBytes(file->dtype());
    for (uint32_t layer = 0; layer < std::min(file->num_layers(), 4U); ++layer) {
      const auto arrays = file->OpenLayer(layer);
      if (!arrays.ok()) continue;
      std::vector<std::byte> begin(std::min(kReadBytesMax, file->tokens().size() * token_bytes));
      const Status read = arrays->keys->Read(begin);
      Require(read.ok() || is_npz);
    }
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace alaya::client

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  alaya::client::FuzzOne(data[0] % 2 == 0, {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
