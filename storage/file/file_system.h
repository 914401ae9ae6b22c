// What the store asks of the file system itself; page files and the catalog go
// through RocksDB (storage/database).
//
// Errors everywhere: ResourceExhausted for a full disk, Internal otherwise, with the
// path and the system's words.

#ifndef ALAYA_STORAGE_FILE_FILE_SYSTEM_H_
#define ALAYA_STORAGE_FILE_FILE_SYSTEM_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/types/status.h"

namespace alaya {

bool PathExists(const std::string& path);
// Creates a directory and its parents; fine if it is there.
Status CreateDirectories(const std::string& path);
// Removes a file or a directory with all that is in it; fine if it is not there.
Status RemoveTree(const std::string& path);
Status RenamePath(const std::string& from, const std::string& to);
// Names (not paths) in a directory, sorted.
StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);
// Paths of all regular files below a directory, relative to it, sorted.
StatusOr<std::vector<std::string>> ListFilesBelow(const std::string& path);
// Makes the creation, renaming and removal of a directory's entries durable.
Status SyncDirectory(const std::string& path);
// Writes a new file; durable when it returns, but for its directory entry.
Status WriteFileSynced(const std::string& path, std::string_view text);
// Bytes that a file may still grow by on the file system that holds `path`.
StatusOr<uint64_t> FreeBytes(const std::string& path);

struct FileDigest {
  uint64_t bytes = 0;
  uint64_t xxh3 = 0;
};
// Called with every piece of a file that was read.
using PieceRead = std::function<void(uint64_t bytes)>;
StatusOr<FileDigest> DigestFile(const std::string& path, const PieceRead& read = nullptr);
// Copies into a new file, durable when it returns but for its directory entry; the
// digest is of what was read.
StatusOr<FileDigest> CopyFileSynced(const std::string& from, const std::string& to,
                                    const PieceRead& read = nullptr);

// A lock on a file, held until destruction and released by the kernel if the process
// dies; excludes other holders in this process too. Move-only.
class FileLock {
 public:
  // Errors: FailedPrecondition if it is held.
  static StatusOr<FileLock> Acquire(const std::string& path);
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_FILE_FILE_SYSTEM_H_
