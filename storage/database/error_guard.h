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
  // `on_damage` learns of errors that mean damaged files; either may be null.
  explicit ErrorGuard(StorageLog log, DamageObserver on_damage = nullptr);

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
  const DamageObserver on_damage_;
  std::atomic<uint64_t> count_{0};
  std::atomic<bool> stopped_{false};
};

// Removes no file while the guard has stopped.
//
// And reads files that are about to be ingested with patience: the packaged library
// asserts, and so ends the process, when it cannot read the first or last page of one. They
// were just written, so an error there is of the moment or the disk is gone.
class GuardedFileSystem : public rocksdb::FileSystemWrapper {
 public:
  // Files that lie directly in `directory` are the database's own, others come from outside.
  GuardedFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base,
                    std::shared_ptr<const ErrorGuard> guard, std::string directory);

  const char* Name() const override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override;

 private:
  const std::shared_ptr<const ErrorGuard> guard_;
  const std::string directory_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_ERROR_GUARD_H_
