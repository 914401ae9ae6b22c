#include "tests/fault/faulty_file_system.h"

#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

namespace alaya {
namespace {

namespace fs = std::filesystem;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

#define RETURN_IF_STRUCK(expression) \
  if (IOStatus struck = (expression); !struck.ok()) return struck

class FaultyFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyFile(FaultyFileSystem* system, std::string path,
             std::unique_ptr<rocksdb::FSWritableFile>&& file)
      : FSWritableFileOwnerWrapper(std::move(file)), system_(system), path_(std::move(path)) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* debug) override {
    RETURN_IF_STRUCK(StrikeAppend(data, options, debug));
    return Note(FSWritableFileOwnerWrapper::Append(data, options, debug), data.size());
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& info, IODebugContext* debug) override {
    RETURN_IF_STRUCK(StrikeAppend(data, options, debug));
    return Note(FSWritableFileOwnerWrapper::Append(data, options, info, debug), data.size());
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    RETURN_IF_STRUCK(system_->Count("sync", path_, /*grows=*/false));
    IOStatus status = FSWritableFileOwnerWrapper::Sync(options, debug);
    if (status.ok()) system_->Synced(path_);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus struck = system_->Count("close", path_, /*grows=*/false);
    IOStatus status = FSWritableFileOwnerWrapper::Close(options, debug);
    return struck.ok() ? status : struck;
  }

 private:
  // A write that fails may have written a part.
  IOStatus StrikeAppend(const rocksdb::Slice& data, const IOOptions& options,
                        IODebugContext* debug) {
    IOStatus struck = system_->Count("write", path_, /*grows=*/true);
    if (struck.ok()) return struck;
    const rocksdb::Slice half(data.data(), data.size() / 2);
    Note(FSWritableFileOwnerWrapper::Append(half, options, debug), half.size())
        .PermitUncheckedError();
    return struck;
  }
  IOStatus Note(IOStatus status, uint64_t bytes) {
    if (status.ok()) system_->Wrote(path_, bytes);
    return status;
  }

  FaultyFileSystem* const system_;
  const std::string path_;
};

class FaultyDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  FaultyDirectory(FaultyFileSystem* system, std::string path,
                  std::unique_ptr<rocksdb::FSDirectory>&& directory)
      : FSDirectoryWrapper(std::move(directory)), system_(system), path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    RETURN_IF_STRUCK(system_->Count("sync directory", path_, /*grows=*/false));
    return Note(FSDirectoryWrapper::Fsync(options, debug));
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& how) override {
    RETURN_IF_STRUCK(system_->Count("sync directory", path_, /*grows=*/false));
    return Note(FSDirectoryWrapper::FsyncWithDirOptions(options, debug, how));
  }

 private:
  IOStatus Note(IOStatus status) {
    if (status.ok()) system_->SyncedDirectory(path_);
    return status;
  }

  FaultyFileSystem* const system_;
  const std::string path_;
};

// Paths come with doubled and missing slashes.
std::string Normal(const std::string& path) { return fs::path(path).lexically_normal().string(); }

}  // namespace

void FaultyFileSystem::Arm(IoFault fault) {
  const std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
  operation_count_ = 0;
  struck_.clear();
}

uint64_t FaultyFileSystem::operation_count() const {
  const std::lock_guard lock(mutex_);
  return operation_count_;
}

std::string FaultyFileSystem::struck() const {
  const std::lock_guard lock(mutex_);
  return struck_;
}

IOStatus FaultyFileSystem::Count(const char* operation, const std::string& path, bool grows) {
  const std::lock_guard lock(mutex_);
  ++operation_count_;
  if (fault_.operation == 0 || operation_count_ < fault_.operation) return IOStatus::OK();
  if (operation_count_ > fault_.operation && !fault_.lasting) return IOStatus::OK();
  if (fault_.growth_only && !grows) return IOStatus::OK();
  if (struck_.empty()) struck_ = std::string(operation) + " " + fs::path(path).filename().string();
  return fault_.error;
}

void FaultyFileSystem::Wrote(const std::string& path, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  files_[Normal(path)].written_bytes += bytes;
}

void FaultyFileSystem::Synced(const std::string& path) {
  const std::lock_guard lock(mutex_);
  FileState& file = files_[Normal(path)];
  file.synced_bytes = file.written_bytes;
}

void FaultyFileSystem::SyncedDirectory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const std::string directory = Normal(path + "/");
  for (auto& [name, file] : files_) {
    if (Normal(fs::path(name).parent_path().string() + "/") == directory) file.name_synced = true;
  }
}

void FaultyFileSystem::Crash(uint64_t seed) {
  const std::lock_guard lock(mutex_);
  std::mt19937_64 random(seed);
  std::error_code ignored;
  for (const auto& [path, file] : files_) {
    if (!fs::exists(path, ignored)) continue;
    if (!file.name_synced && random() % 2 == 0) {
      fs::remove(path, ignored);
      continue;
    }
    const uint64_t unsynced = file.written_bytes - file.synced_bytes;
    const uint64_t kept = file.synced_bytes + (unsynced == 0 ? 0 : random() % (unsynced + 1));
    if (fs::file_size(path, ignored) > kept) fs::resize_file(path, kept, ignored);
  }
  files_.clear();
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& path,
                                           const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                                           Debug* debug) {
  RETURN_IF_STRUCK(Count("create", path, /*grows=*/true));
  std::unique_ptr<rocksdb::FSWritableFile> real;
  RETURN_IF_STRUCK(FileSystemWrapper::NewWritableFile(path, options, &real, debug));
  {
    const std::lock_guard lock(mutex_);
    files_[Normal(path)] = {};
  }
  *file = std::make_unique<FaultyFile>(this, path, std::move(real));
  return IOStatus::OK();
}

IOStatus FaultyFileSystem::ReopenWritableFile(const std::string& path,
                                              const rocksdb::FileOptions& options,
                                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                                              Debug* debug) {
  RETURN_IF_STRUCK(Count("reopen", path, /*grows=*/true));
  std::unique_ptr<rocksdb::FSWritableFile> real;
  RETURN_IF_STRUCK(FileSystemWrapper::ReopenWritableFile(path, options, &real, debug));
  {
    const std::lock_guard lock(mutex_);
    // What another process, or RocksDB before a crash, wrote is taken as it is.
    const auto [known, is_new] = files_.try_emplace(Normal(path));
    if (is_new) {
      std::error_code ignored;
      const uint64_t bytes = fs::file_size(path, ignored);
      known->second = {bytes, bytes, true};
    }
  }
  *file = std::make_unique<FaultyFile>(this, path, std::move(real));
  return IOStatus::OK();
}

IOStatus FaultyFileSystem::NewDirectory(const std::string& path, const Options& options,
                                        std::unique_ptr<rocksdb::FSDirectory>* directory,
                                        Debug* debug) {
  std::unique_ptr<rocksdb::FSDirectory> real;
  RETURN_IF_STRUCK(FileSystemWrapper::NewDirectory(path, options, &real, debug));
  *directory = std::make_unique<FaultyDirectory>(this, path, std::move(real));
  return IOStatus::OK();
}

IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to,
                                      const Options& options, Debug* debug) {
  RETURN_IF_STRUCK(Count("rename", to, /*grows=*/true));
  RETURN_IF_STRUCK(FileSystemWrapper::RenameFile(from, to, options, debug));
  {
    const std::lock_guard lock(mutex_);
    if (const auto file = files_.find(Normal(from)); file != files_.end()) {
      files_[Normal(to)] = file->second;
      files_.erase(Normal(from));
    }
  }
  // The rename survives, so what came before it in the directory does.
  SyncedDirectory(fs::path(to).parent_path().string());
  return IOStatus::OK();
}

IOStatus FaultyFileSystem::LinkFile(const std::string& from, const std::string& to,
                                    const Options& options, Debug* debug) {
  RETURN_IF_STRUCK(Count("link", to, /*grows=*/true));
  RETURN_IF_STRUCK(FileSystemWrapper::LinkFile(from, to, options, debug));
  const std::lock_guard lock(mutex_);
  if (const auto file = files_.find(Normal(from)); file != files_.end()) {
    files_[Normal(to)] = file->second;
    files_[Normal(to)].name_synced = false;
  }
  return IOStatus::OK();
}

IOStatus FaultyFileSystem::DeleteFile(const std::string& path, const Options& options,
                                      Debug* debug) {
  RETURN_IF_STRUCK(Count("delete", path, /*grows=*/false));
  RETURN_IF_STRUCK(FileSystemWrapper::DeleteFile(path, options, debug));
  const std::lock_guard lock(mutex_);
  files_.erase(Normal(path));
  return IOStatus::OK();
}

IOStatus FaultyFileSystem::CreateDir(const std::string& path, const Options& options,
                                     Debug* debug) {
  RETURN_IF_STRUCK(Count("create directory", path, /*grows=*/true));
  return FileSystemWrapper::CreateDir(path, options, debug);
}

IOStatus FaultyFileSystem::CreateDirIfMissing(const std::string& path, const Options& options,
                                              Debug* debug) {
  RETURN_IF_STRUCK(Count("create directory", path, /*grows=*/true));
  return FileSystemWrapper::CreateDirIfMissing(path, options, debug);
}

IOStatus FaultyFileSystem::GetFreeSpace(const std::string& path, const Options& options,
                                        uint64_t* bytes, Debug* debug) {
  RETURN_IF_STRUCK(FileSystemWrapper::GetFreeSpace(path, options, bytes, debug));
  const std::lock_guard lock(mutex_);
  if (fault_.lasting && fault_.error.IsNoSpace() && !struck_.empty()) *bytes = 0;
  return IOStatus::OK();
}

}  // namespace alaya
