// Reads page files past the system's page cache.
//
// The memory tier is the cache: a second copy of a page in the system's cache takes memory
// that the budget does not know, and making it costs more processor time than all else on
// a page's way from the disk. So what is not in the system's cache already is read by
// O_DIRECT, through a few buffers of huge pages; what is there, as files that were just
// written are, is taken from there. Where O_DIRECT does not work, all reads go the usual way.

#ifndef ALAYA_STORAGE_DATABASE_DIRECT_READS_H_
#define ALAYA_STORAGE_DATABASE_DIRECT_READS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "rocksdb/file_system.h"

namespace alaya {

class DirectBuffers;
class DirectFile;

// While one lives, its thread reads page files in larger pieces: a read that is not of a few
// bytes brings so many behind it along, and reads of those are served from memory. RocksDB's
// own read-ahead does the same with fresh memory and one copy more each time.
// One at a time per thread.
class ReadAheadScope {
 public:
  explicit ReadAheadScope(size_t bytes_ahead);
  ~ReadAheadScope();
  ReadAheadScope(const ReadAheadScope&) = delete;
  ReadAheadScope& operator=(const ReadAheadScope&) = delete;

 private:
  friend class DirectFile;

  const size_t bytes_ahead_;
  std::shared_ptr<DirectBuffers> buffers_;  // whose buffer_ is
  std::span<std::byte> buffer_;             // empty until the first read
  // What of a file lies in it.
  uint64_t file_number_ = 0;
  uint64_t begin_ = 0;
  std::span<const std::byte> bytes_;
};

// RocksDB's files, those that it reads in pieces read directly.
class DirectReadFileSystem : public rocksdb::FileSystemWrapper {
 public:
  // Buffers take at most so many bytes, but some are always there.
  DirectReadFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base, size_t buffer_bytes_max);
  ~DirectReadFileSystem() override;

  // Memory of buffers that were used at some time; the rest takes none.
  size_t buffer_bytes() const;

  const char* Name() const override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override;

 private:
  const std::shared_ptr<DirectBuffers> buffers_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_DIRECT_READS_H_
