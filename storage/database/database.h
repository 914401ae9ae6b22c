// The embedded RocksDB: a small catalog of records and the bulk of pages, in column
// families of their own. With page_file.h the only door to RocksDB.
//
// Pages come in as finished files and leave by whole segments; the catalog changes
// by synced batches. A write that failed is *unknown*: RocksDB may have logged it and
// show it after the next start. Callers undo it or say so.

#ifndef ALAYA_STORAGE_DATABASE_DATABASE_H_
#define ALAYA_STORAGE_DATABASE_DATABASE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/database/storage_log.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace rocksdb {
class Env;
struct Options;
}  // namespace rocksdb

namespace alaya {

// Changes that happen together or not at all.
struct CatalogBatch {
  std::vector<std::pair<std::string, std::string>> puts;
  std::vector<std::string> erases;

  void Put(std::string key, std::string value) {
    puts.emplace_back(std::move(key), std::move(value));
  }
  void Erase(std::string key) { erases.push_back(std::move(key)); }
  bool empty() const { return puts.empty() && erases.empty(); }
};

struct DatabaseStats {
  uint64_t disk_bytes = 0;
  uint64_t background_errors = 0;
  uint64_t pending_compaction_bytes = 0;
  uint64_t delayed_write_bytes_per_second = 0;  // 0: writes are not slowed
  bool write_stopped = false;
};

// What the database takes in memory.
struct DatabaseMemory {
  uint64_t write_buffer_bytes = 0;
  uint64_t file_bytes = 0;         // about: the list of files, and the indexes of open ones
  uint64_t read_buffer_bytes = 0;  // used at some time; they are kept
};

struct DatabaseOptions {
  StorageLog log = nullptr;
  // Of files of pages that were set aside, and of what RocksDB finds corrupt while it runs.
  DamageObserver on_damage = nullptr;
  // Changes no file; what was written last is replayed into memory. Every method that
  // writes fails.
  bool read_only = false;
  // Where its files lie; null: the system's. Must outlive the database.
  rocksdb::Env* env = nullptr;
  // Most that buffers for reads take.
  size_t read_buffer_bytes_max = size_t{32} << 20;
};

// Threads: all methods may be called from any thread.
class Database {
 public:
  // A file of pages that is damaged beyond opening costs its pages, not the database:
  // it is moved to `damaged/` in the directory, and reading its pages is NotFound.
  //
  // Errors: FailedPrecondition if the directory holds another format version or a
  //   database of another program; DataLoss if its catalog is damaged.
  static StatusOr<std::unique_ptr<Database>> Open(const std::string& directory,
                                                  const DatabaseOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Durable when it returns OK; unknown when not.
  Status WriteCatalog(const CatalogBatch& batch);
  // Calls `visit` for every record in key order until it returns an error.
  Status ScanCatalog(
      const std::function<Status(std::string_view key, std::string_view value)>& visit) const;

  // Calls `use` with the record's value. Errors: NotFound; DataLoss if its block is damaged;
  // what `use` returns.
  Status ReadCatalog(const std::string& key,
                     const std::function<Status(std::string_view value)>& use) const;

  // Takes files written by PageFileWriter, all or none; they are moved. Their keys
  // must be new and their ranges apart. Unknown when it fails.
  Status IngestPages(const std::vector<std::string>& files);
  // Calls `use` with the stored page. Errors: NotFound; DataLoss if its block is
  // damaged; what `use` returns.
  Status ReadPage(const std::string& key,
                  const std::function<Status(std::span<const std::byte> stored)>& use) const;
  // Reads the pages from key `first` to key `last` in few large reads; calls `use` with each
  // in their order. Stops at a damaged one. `bytes_behind_first`: about what those after the
  // first take on disk, which is read together with it.
  // Errors: DataLoss if a block is damaged.
  Status ReadPages(const std::string& first, const std::string& last, size_t bytes_behind_first,
                   const std::function<void(std::string_view key,
                                            std::span<const std::byte> stored)>& use) const;
  // Drops all pages of a segment; the disk space is free when it returns, unless a
  // read or a checkpoint still holds a file.
  Status DropSegment(SegmentId segment);
  // The segments that have pages. Reads no page.
  std::vector<SegmentId> StoredSegments() const;

  // Rewrites the catalog without what was deleted or replaced.
  Status CompactCatalog();
  // Links or copies a consistent state into `directory`, which must not exist.
  Status Checkpoint(const std::string& directory);

  bool read_only() const;
  DatabaseStats stats() const;
  // Cost: a look at every file.
  DatabaseMemory memory() const;
  // For PageFileWriter.
  const rocksdb::Options& page_file_options() const;

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_DATABASE_H_
