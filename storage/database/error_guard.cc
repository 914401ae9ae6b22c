#include "storage/database/error_guard.h"

#include <utility>

namespace alaya {

ErrorGuard::ErrorGuard(StorageLog log) : log_(std::move(log)) {}

void ErrorGuard::OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                                   rocksdb::Status* error) {
  count_.fetch_add(1, std::memory_order_relaxed);
  stopped_.store(true, std::memory_order_release);
  if (log_) log_(StorageLogLevel::kError, "rocksdb background error: " + error->ToString());
}

void ErrorGuard::OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/,
                                      rocksdb::Status error, bool* auto_recovery) {
  error.PermitUncheckedError();
  *auto_recovery = false;
}

GuardedFileSystem::GuardedFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base,
                                     std::shared_ptr<const ErrorGuard> guard)
    : FileSystemWrapper(base), guard_(std::move(guard)) {}

const char* GuardedFileSystem::Name() const { return "GuardedFileSystem"; }

rocksdb::IOStatus GuardedFileSystem::DeleteFile(const std::string& path,
                                                const rocksdb::IOOptions& options,
                                                rocksdb::IODebugContext* debug) {
  if (guard_->stopped()) return rocksdb::IOStatus::OK();
  return FileSystemWrapper::DeleteFile(path, options, debug);
}

}  // namespace alaya
