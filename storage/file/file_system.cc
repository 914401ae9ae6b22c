#include "storage/file/file_system.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>

namespace alaya {
namespace {

namespace fs = std::filesystem;

Status FileError(std::string_view action, const std::string& path, std::error_code error) {
  const std::string message = "cannot " + std::string(action) + " " + path + ": " + error.message();
  if (error == std::errc::no_space_on_device) return ResourceExhausted(message);
  return Internal(message);
}
Status FileError(std::string_view action, const std::string& path) {
  return FileError(action, path, std::error_code(errno, std::generic_category()));
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

Status WriteAll(const Descriptor& file, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file.number(), text.data(), text.size());
    if (written < 0 && errno != EINTR) return FileError("write", path);
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
  return OkStatus();
}

// Reads a file from begin to end, until `use` returns an error.
StatusOr<FileDigest> ReadPieces(const std::string& path,
                                const std::function<Status(std::string_view piece)>& use) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number() < 0) return FileError("open", path);
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       XXH3_freeState);
  XXH3_64bits_reset(state.get());
  std::vector<char> buffer(size_t{1} << 20);
  FileDigest digest;
  for (;;) {
    const ssize_t count = read(file.number(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("read", path);
    if (count == 0) break;
    const std::string_view piece(buffer.data(), static_cast<size_t>(count));
    XXH3_64bits_update(state.get(), piece.data(), piece.size());
    digest.bytes += piece.size();
    ALAYA_RETURN_IF_ERROR(use(piece));
  }
  digest.xxh3 = XXH3_64bits_digest(state.get());
  return digest;
}

}  // namespace

bool PathExists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

Status CreateDirectories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return FileError("create directory", path, error);
  return OkStatus();
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return FileError("remove", path, error);
  return OkStatus();
}

Status RenamePath(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return FileError("rename to " + to + " from", from, error);
  return OkStatus();
}

StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entry(path, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return FileError("list", path, error);
  std::sort(names.begin(), names.end());
  return names;
}

StatusOr<std::vector<std::string>> ListFilesBelow(const std::string& path) {
  std::error_code error;
  std::vector<std::string> files;
  fs::recursive_directory_iterator entry(path, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->is_regular_file(error)) {
      files.push_back(entry->path().lexically_relative(path).string());
    }
  }
  if (error) return FileError("list", path, error);
  std::sort(files.begin(), files.end());
  return files;
}

Status SyncDirectory(const std::string& path) {
  const Descriptor directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.number() < 0 || fsync(directory.number()) != 0) return FileError("sync", path);
  return OkStatus();
}

Status WriteFileSynced(const std::string& path, std::string_view text) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.number() < 0) return FileError("create", path);
  ALAYA_RETURN_IF_ERROR(WriteAll(file, path, text));
  if (fsync(file.number()) != 0) return FileError("sync", path);
  return OkStatus();
}

StatusOr<uint64_t> FreeBytes(const std::string& path) {
  struct statvfs stats = {};
  if (statvfs(path.c_str(), &stats) != 0) return FileError("ask for free space of", path);
  return uint64_t{stats.f_bavail} * stats.f_frsize;
}

StatusOr<FileDigest> DigestFile(const std::string& path, const PieceRead& read) {
  return ReadPieces(path, [&read](std::string_view piece) {
    if (read) read(piece.size());
    return OkStatus();
  });
}

StatusOr<FileDigest> CopyFileSynced(const std::string& from, const std::string& to,
                                    const PieceRead& read) {
  const Descriptor target(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (target.number() < 0) return FileError("create", to);
  ALAYA_ASSIGN_OR_RETURN(const FileDigest digest,
                         ReadPieces(from, [&](std::string_view piece) -> Status {
                           if (read) read(piece.size());
                           return WriteAll(target, to, piece);
                         }));
  if (fsync(target.number()) != 0) return FileError("sync", to);
  return digest;
}

StatusOr<FileLock> FileLock::Acquire(const std::string& path) {
  FileLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.descriptor_ < 0) return FileError("open", path);
  if (flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return FailedPrecondition(path + " is held: the directory is in use");
    return FileError("lock", path);
  }
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace alaya
