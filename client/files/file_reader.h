// A file that is read at given positions, whole or not at all.

#ifndef ALAYA_CLIENT_FILES_FILE_READER_H_
#define ALAYA_CLIENT_FILES_FILE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "client/files/array_file.h"
#include "storage/types/status.h"

namespace alaya::client {

class FileReader {
 public:
  static StatusOr<FileReader> Open(const std::string& path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&&) = delete;

  uint64_t size_bytes() const { return size_bytes_; }
  // Fills the whole buffer. Errors: DataLoss if the file ends before.
  Status ReadAt(uint64_t offset, std::span<std::byte> buffer) const;

 private:
  FileReader(int descriptor, uint64_t size_bytes)
      : descriptor_(descriptor), size_bytes_(size_bytes) {}

  int descriptor_;
  uint64_t size_bytes_;
};

// The bytes [offset, offset + bytes) of a file, as an array.
class FileRangeReader : public ArrayReader {
 public:
  // `file` must outlive the reader.
  FileRangeReader(const FileReader* file, uint64_t offset, uint64_t bytes)
      : file_(file), offset_(offset), left_bytes_(bytes) {}

  Status Read(std::span<std::byte> buffer) override;
  Status Skip(uint64_t bytes) override;

 private:
  const FileReader* file_;
  uint64_t offset_;
  uint64_t left_bytes_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_FILES_FILE_READER_H_
