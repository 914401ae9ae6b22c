// An .npy file: one array.

#include <array>
#include <utility>

#include "client/files/array_file.h"
#include "client/files/file_reader.h"
#include "client/files/npy_header.h"

namespace alaya::client {
namespace {

class NpyFile : public ArrayFile {
 public:
  static StatusOr<std::unique_ptr<ArrayFile>> Open(const std::string& path) {
    ALAYA_ASSIGN_OR_RETURN(FileReader file, FileReader::Open(path));
    std::array<std::byte, kNpyPreambleBytes> preamble;
    ALAYA_RETURN_IF_ERROR(file.ReadAt(0, preamble));
    ALAYA_ASSIGN_OR_RETURN(const size_t header_bytes, NpyHeaderBytes(preamble));
    std::vector<std::byte> header_text(header_bytes);
    ALAYA_RETURN_IF_ERROR(file.ReadAt(0, header_text));
    ALAYA_ASSIGN_OR_RETURN(NpyHeader header, ParseNpyHeader(header_text));
    if (file.size_bytes() - header_bytes != header.data_bytes) {
      return InvalidArgument("shape " + ShapeText(header.shape) + " needs " +
                             std::to_string(header.data_bytes) + " bytes, the file has " +
                             std::to_string(file.size_bytes() - header_bytes));
    }
    return std::unique_ptr<ArrayFile>(
        new NpyFile(std::move(file), header_bytes, std::move(header)));
  }

  StatusOr<std::unique_ptr<ArrayReader>> OpenArray(const ArrayInfo& info) const override {
    return std::make_unique<FileRangeReader>(&file_, header_bytes_, info.bytes);
  }

 private:
  NpyFile(FileReader file, size_t header_bytes, NpyHeader header)
      : file_(std::move(file)), header_bytes_(header_bytes) {
    AddArray({"", header.type, std::move(header.shape), header.data_bytes});
  }

  FileReader file_;
  size_t header_bytes_;
};

}  // namespace

StatusOr<std::unique_ptr<ArrayFile>> OpenNpy(const std::string& path) {
  return NpyFile::Open(path);
}

}  // namespace alaya::client
