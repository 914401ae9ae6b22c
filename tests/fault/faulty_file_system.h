// A file system for RocksDB whose n-th operation fails, and that forgets in a crash what
// was not synced. Everything else goes to the real one.
//
// Not simulated: renames that a crash undoes. Names keep the order in which they were
// made, as journals do: a rename that survives keeps the files that were made before it.

#ifndef ALAYA_TESTS_FAULT_FAULTY_FILE_SYSTEM_H_
#define ALAYA_TESTS_FAULT_FAULTY_FILE_SYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "rocksdb/file_system.h"

namespace alaya {

// Which operations fail, counted from 1 over all that change something on disk.
struct IoFault {
  uint64_t operation = 0;
  rocksdb::IOStatus error;
  bool lasting = false;  // all later ones fail too, as on a dead disk
  // Only what takes space fails, as on a full disk: no sync, deletion or close.
  bool growth_only = false;
};

// Threads: any.
class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  FaultyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "FaultyFileSystem"; }
  const char* Name() const override { return kClassName(); }

  // Starts to count anew.
  void Arm(IoFault fault);
  // Nothing fails from now on.
  void Disarm() { Arm({}); }
  uint64_t operation_count() const;
  // What the fault struck, for messages; empty: nothing yet.
  std::string struck() const;

  // Cuts every file somewhere between what was synced and what was written, and removes
  // files whose name was not synced, now and then; the seed decides. Requires that all
  // files are closed.
  void Crash(uint64_t seed);

  using Options = rocksdb::IOOptions;
  using Debug = rocksdb::IODebugContext;
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    Debug* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       Debug* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const Options& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 Debug* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const Options& options, Debug* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to, const Options& options,
                             Debug* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const Options& options,
                               Debug* debug) override;
  rocksdb::IOStatus CreateDir(const std::string& path, const Options& options,
                              Debug* debug) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& path, const Options& options,
                                       Debug* debug) override;

  // None while the disk is full.
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const Options& options, uint64_t* bytes,
                                 Debug* debug) override;

  // For the files: counts an operation, and says whether it fails.
  rocksdb::IOStatus Count(const char* operation, const std::string& path, bool grows);
  void Wrote(const std::string& path, uint64_t bytes);
  void Synced(const std::string& path);
  void SyncedDirectory(const std::string& path);

 private:
  struct FileState {
    uint64_t written_bytes = 0;
    uint64_t synced_bytes = 0;
    bool name_synced = false;
  };

  mutable std::mutex mutex_;  // guards what follows
  IoFault fault_;
  uint64_t operation_count_ = 0;
  std::string struck_;
  std::map<std::string, FileState> files_;  // written by this process
};

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_FAULTY_FILE_SYSTEM_H_
