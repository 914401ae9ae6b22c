#include "storage/database/damaged_files.h"

#include <memory>
#include <utility>

#include "rocksdb/convenience.h"
#include "rocksdb/env.h"
#include "rocksdb/metadata.h"
#include "rocksdb/sst_file_reader.h"
#include "storage/database/rocksdb_status.h"

namespace alaya {
namespace {

constexpr char kDamagedDirectory[] = "damaged";

// An open database with its column families, closed at the end.
class OpenDatabase {
 public:
  static StatusOr<OpenDatabase> Open(const DatabaseFiles& files) {
    // Lets it open without files that are missing or damaged. Only for this moment:
    // failed writes would go unnoticed too.
    rocksdb::DBOptions tolerant = files.options;
    tolerant.paranoid_checks = false;
    tolerant.skip_checking_sst_file_sizes_on_db_open = true;
    OpenDatabase open;
    rocksdb::DB* db = nullptr;
    ALAYA_RETURN_IF_ERROR(FromRocksDb(
        rocksdb::DB::Open(tolerant, files.directory, files.families, &open.handles_, &db),
        "open database " + files.directory + " to set damaged files aside"));
    open.db_.reset(db);
    return open;
  }
  OpenDatabase(OpenDatabase&&) = default;
  OpenDatabase& operator=(OpenDatabase&&) = default;
  ~OpenDatabase() {
    if (db_ == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
    db_->Close().PermitUncheckedError();
  }

  rocksdb::DB& db() { return *db_; }
  rocksdb::ColumnFamilyHandle* pages() const { return handles_.back(); }

 private:
  OpenDatabase() = default;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
};

// OK for a file that can be opened and has the length that the database knows.
rocksdb::Status CheckFile(rocksdb::Env* env, const rocksdb::Options& options,
                          const std::string& path, uint64_t expected_bytes) {
  uint64_t found_bytes = 0;
  if (rocksdb::Status found = env->GetFileSize(path, &found_bytes); !found.ok()) return found;
  if (found_bytes != expected_bytes) {
    return rocksdb::Status::Corruption("it has " + std::to_string(found_bytes) + " bytes, not " +
                                       std::to_string(expected_bytes));
  }
  return rocksdb::SstFileReader(options).Open(path);
}

}  // namespace

StatusOr<size_t> SetDamagedFilesAside(const DatabaseFiles& files, const StorageLog& log) {
  ALAYA_ASSIGN_OR_RETURN(OpenDatabase open, OpenDatabase::Open(files));
  rocksdb::Env* const env = files.options.env;
  const rocksdb::Options options(files.options, files.families.back().options);
  const std::string aside = files.directory + "/" + kDamagedDirectory;
  rocksdb::ColumnFamilyMetaData metadata;
  open.db().GetColumnFamilyMetaData(open.pages(), &metadata);
  size_t damaged_count = 0;
  for (const rocksdb::LevelMetaData& level : metadata.levels) {
    for (const rocksdb::SstFileMetaData& file : level.files) {
      const std::string path = files.directory + "/" + file.relative_filename;
      const rocksdb::Status status = CheckFile(env, options, path, file.size);
      if (status.ok()) continue;
      const bool is_there = !env->FileExists(path).IsNotFound();
      // A disk that does not answer, or a lack of file descriptors, says nothing about
      // what the file holds.
      if (is_there && !status.IsCorruption()) return FromRocksDb(status, "read file " + path);
      if (is_there) {
        ALAYA_RETURN_IF_ERROR(FromRocksDb(env->CreateDirIfMissing(aside), "create " + aside));
        const std::string kept = aside + "/" + file.relative_filename;
        // Linked: the database removes its own name for it. Left over from another try
        // it is the same file.
        const rocksdb::Status linked = env->LinkFile(path, kept);
        if (!linked.ok() && !env->FileExists(kept).ok()) {
          return FromRocksDb(linked, "keep damaged file " + path);
        }
      }
      const rocksdb::Slice begin(file.smallestkey);
      const rocksdb::Slice end(file.largestkey);
      const rocksdb::RangePtr range(&begin, &end);
      ALAYA_RETURN_IF_ERROR(
          FromRocksDb(rocksdb::DeleteFilesInRanges(&open.db(), open.pages(), &range, 1,
                                                   /*include_end=*/true),
                      "set damaged file " + path + " aside"));
      ++damaged_count;
      if (log) {
        log(StorageLogLevel::kError, "pages are lost: file " + path + " is damaged (" +
                                         status.ToString() + "); what is left of it lies in " +
                                         aside);
      }
    }
  }
  return damaged_count;
}

}  // namespace alaya
