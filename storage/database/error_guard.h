// What happens after RocksDB stopped writing: nothing, until it is opened anew.
//
// The packaged library's own recovery asserts, and so ends the process, in several
// states that a failed write leaves. And closing it removes files that its manifest on
// disk may name: when the manifest could be written but not synced, RocksDB takes its
// last record for lost, and the next start would not find the record's file. So its
// recovery is off, and from the first error on no file is removed; opening anew removes
// what the manifest does not name.

#ifndef ALAYA_STORAGE_DATABASE_ERROR_GUARD_H_
#define ALAYA_STORAGE_DATABASE_ERROR_GUARD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "rocksdb/file_system.h"
#include "rocksdb/listener.h"
#include "storage/database/storage_log.h"

namespace alaya {

class ErrorGuard : public rocksdb::EventListener {
 public:
  explicit ErrorGuard(StorageLog log);

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override;
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason reason, rocksdb::Status error,
                            bool* auto_recovery) override;

  // Errors since the start.
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  // Whether there was one since the database was opened.
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  void Stop() { stopped_.store(true, std::memory_order_release); }
  void Reopened() { stopped_.store(false, std::memory_order_release); }

 private:
  const StorageLog log_;
  std::atomic<uint64_t> count_{0};
  std::atomic<bool> stopped_{false};
};

// Removes no file while the guard has stopped.
class GuardedFileSystem : public rocksdb::FileSystemWrapper {
 public:
  GuardedFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base,
                    std::shared_ptr<const ErrorGuard> guard);

  const char* Name() const override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  const std::shared_ptr<const ErrorGuard> guard_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_ERROR_GUARD_H_
