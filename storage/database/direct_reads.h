// Reads page files past the system's page cache.
//
// The memory tier is the cache: a second copy of a page in the system's cache takes memory
// that the budget does not know, and making it costs more processor time than all else on
// a page's way from the disk. So what is not in the system's cache already is read by
// O_DIRECT, through a few buffers of huge pages; what is there, as files that were just
// written are, is taken from there. Where O_DIRECT does not work, all reads go the usual way.

#ifndef ALAYA_STORAGE_DATABASE_DIRECT_READS_H_
#define ALAYA_STORAGE_DATABASE_DIRECT_READS_H_

#include <memory>
#include <string>

#include "rocksdb/file_system.h"

namespace alaya {

class DirectBuffers;

// RocksDB's files, those that it reads in pieces read directly.
class DirectReadFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit DirectReadFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base);
  ~DirectReadFileSystem() override;

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
