#include "storage/database/error_guard.h"

#include <chrono>
#include <thread>
#include <utility>

namespace alaya {
namespace {

using rocksdb::IOStatus;

class PatientFile : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  using FSRandomAccessFileOwnerWrapper::FSRandomAccessFileOwnerWrapper;

  IOStatus Read(uint64_t offset, size_t bytes, const rocksdb::IOOptions& options,
                rocksdb::Slice* result, char* scratch,
                rocksdb::IODebugContext* debug) const override {
    constexpr int kTries = 16;
    IOStatus status;
    for (int i = 0; i < kTries; ++i) {
      status = FSRandomAccessFileOwnerWrapper::Read(offset, bytes, options, result, scratch, debug);
      if (!status.IsIOError()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
    }
    return status;
  }
};

}  // namespace

ErrorGuard::ErrorGuard(StorageLog log, DamageObserver on_damage)
    : log_(std::move(log)), on_damage_(std::move(on_damage)) {}

void ErrorGuard::OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                                   rocksdb::Status* error) {
  count_.fetch_add(1, std::memory_order_relaxed);
  stopped_.store(true, std::memory_order_release);
  if (log_) log_(StorageLogLevel::kError, "rocksdb background error: " + error->ToString());
  if (on_damage_ && error->IsCorruption()) on_damage_(error->ToString());
}

void ErrorGuard::OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/,
                                      rocksdb::Status error, bool* auto_recovery) {
  error.PermitUncheckedError();
  *auto_recovery = false;
}

GuardedFileSystem::GuardedFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base,
                                     std::shared_ptr<const ErrorGuard> guard, std::string directory)
    : FileSystemWrapper(base), guard_(std::move(guard)), directory_(std::move(directory)) {}

const char* GuardedFileSystem::Name() const { return "GuardedFileSystem"; }

rocksdb::IOStatus GuardedFileSystem::DeleteFile(const std::string& path,
                                                const rocksdb::IOOptions& options,
                                                rocksdb::IODebugContext* debug) {
  if (guard_->stopped()) return rocksdb::IOStatus::OK();
  return FileSystemWrapper::DeleteFile(path, options, debug);
}

IOStatus GuardedFileSystem::NewRandomAccessFile(const std::string& path,
                                                const rocksdb::FileOptions& options,
                                                std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                                rocksdb::IODebugContext* debug) {
  IOStatus status = FileSystemWrapper::NewRandomAccessFile(path, options, file, debug);
  if (status.ok() && !path.starts_with(directory_ + "/")) {
    *file = std::make_unique<PatientFile>(std::move(*file));
  }
  return status;
}

}  // namespace alaya
