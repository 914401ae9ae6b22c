#include "client/files/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace alaya::client {
namespace {

Status ErrnoStatus(std::string_view what, int error) {
  const std::string message = std::string(what) + ": " + std::generic_category().message(error);
  if (error == ENOENT) return NotFound(message);
  if (error == EACCES) return MakeError(StatusCode::kPermissionDenied, message);
  return InvalidArgument(message);
}

}  // namespace

StatusOr<FileReader> FileReader::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return ErrnoStatus("cannot open", errno);
  FileReader file(descriptor, 0);
  struct stat attributes = {};
  if (fstat(descriptor, &attributes) != 0) return ErrnoStatus("cannot stat", errno);
  if (!S_ISREG(attributes.st_mode)) return InvalidArgument("not a regular file");
  file.size_bytes_ = static_cast<uint64_t>(attributes.st_size);
  return file;
}

FileReader::~FileReader() {
  if (descriptor_ >= 0) close(descriptor_);
}

FileReader::FileReader(FileReader&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_bytes_(other.size_bytes_) {}

Status FileReader::ReadAt(uint64_t offset, std::span<std::byte> buffer) const {
  while (!buffer.empty()) {
    const ssize_t count =
        pread(descriptor_, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus("cannot read", errno);
    if (count == 0) return DataLoss("the file ends at byte " + std::to_string(offset));
    offset += static_cast<uint64_t>(count);
    buffer = buffer.subspan(static_cast<size_t>(count));
  }
  return OkStatus();
}

Status FileRangeReader::Read(std::span<std::byte> buffer) {
  if (buffer.size() > left_bytes_) return DataLoss("read beyond the end of the array");
  ALAYA_RETURN_IF_ERROR(file_->ReadAt(offset_, buffer));
  return Skip(buffer.size());
}

Status FileRangeReader::Skip(uint64_t bytes) {
  if (bytes > left_bytes_) return DataLoss("read beyond the end of the array");
  offset_ += bytes;
  left_bytes_ -= bytes;
  return OkStatus();
}

}  // namespace alaya::client
