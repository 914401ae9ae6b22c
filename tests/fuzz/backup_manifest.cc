// Manifests of backups: whatever one says, verifying it tells that it is sound or not, and
// restoring it never writes outside of its directory.

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "storage/context/backup.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& path, const std::string& text) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << text;
}

// A backup of two small files; made once, in memory where the machine has such a place.
const fs::path& Directory() {
  static const fs::path directory = [] {
    std::string pattern =
        (fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path()) / "fuzz-XXXXXX";
    Require(mkdtemp(pattern.data()) != nullptr);
    const fs::path made = pattern;
    std::atexit([] {
      std::error_code ignored;
      fs::remove_all(Directory(), ignored);
    });
    fs::create_directories(made / "backup" / kDatabaseDirectory / "sub");
    Write(made / "backup" / kDatabaseDirectory / "a", "some bytes");
    Write(made / "backup" / kDatabaseDirectory / "sub" / "b", "others");
    return made;
  }();
  return directory;
}

void FuzzOne(const std::string& manifest) {
  const fs::path& directory = Directory();
  const std::string backup = directory / "backup";
  const fs::path restored = directory / "restored";
  Write(directory / "backup" / kBackupManifest, manifest);
  const Status verified = VerifyBackup(backup);
  const auto bytes = RestoreBackup(backup, restored);
  Require(verified.ok() == bytes.ok());
  Require(bytes.ok() == fs::exists(restored));
  fs::remove_all(restored);
  // Nothing was written beside it.
  for (const auto& entry : fs::directory_iterator(directory)) {
    Require(entry.path().filename() == "backup");
  }
}

}  // namespace
}  // namespace alaya

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alaya::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
