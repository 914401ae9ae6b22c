// An .npz file: a zip archive of .npy files, stored or deflated. libzip inflates as it
// reads and checks each entry's CRC at its end.

#include <zip.h>

#include <algorithm>
#include <map>
#include <utility>

#include "client/files/array_file.h"
#include "client/files/npy_header.h"

namespace alaya::client {
namespace {

constexpr std::string_view kEntrySuffix = ".npy";

struct ArchiveCloser {
  // Discards: the archive is only read.
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct EntryCloser {
  void operator()(zip_file_t* entry) const { zip_fclose(entry); }
};
using Archive = std::unique_ptr<zip_t, ArchiveCloser>;
using Entry = std::unique_ptr<zip_file_t, EntryCloser>;

Status ReadEntry(zip_file_t* entry, std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    const zip_int64_t count = zip_fread(entry, buffer.data(), buffer.size());
    if (count < 0) return DataLoss(zip_file_strerror(entry));
    if (count == 0) return DataLoss("the entry ends early");
    buffer = buffer.subspan(static_cast<size_t>(count));
  }
  return OkStatus();
}

class NpzReader : public ArrayReader {
 public:
  NpzReader(Entry entry, uint64_t bytes) : entry_(std::move(entry)), left_bytes_(bytes) {}

  Status Read(std::span<std::byte> buffer) override {
    if (buffer.size() > left_bytes_) return DataLoss("read beyond the end of the array");
    ALAYA_RETURN_IF_ERROR(ReadEntry(entry_.get(), buffer));
    left_bytes_ -= buffer.size();
    if (left_bytes_ > 0 || buffer.empty()) return OkStatus();
    // libzip compares the CRC when it meets the end of the entry.
    std::byte beyond{};
    if (zip_fread(entry_.get(), &beyond, 1) != 0) return DataLoss("the entry's CRC is wrong");
    return OkStatus();
  }

  Status Skip(uint64_t bytes) override {
    std::vector<std::byte> scratch(std::min<uint64_t>(bytes, uint64_t{1} << 20));
    while (bytes > 0) {
      const uint64_t count = std::min<uint64_t>(bytes, scratch.size());
      ALAYA_RETURN_IF_ERROR(Read(std::span(scratch).first(count)));
      bytes -= count;
    }
    return OkStatus();
  }

 private:
  Entry entry_;
  uint64_t left_bytes_;
};

class NpzFile : public ArrayFile {
 public:
  static StatusOr<std::unique_ptr<ArrayFile>> Open(const std::string& path) {
    int code = 0;
    Archive archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
    if (archive == nullptr) {
      zip_error_t error;
      zip_error_init_with_code(&error, code);
      const std::string message = zip_error_strerror(&error);
      zip_error_fini(&error);
      return MakeError(code == ZIP_ER_NOENT ? StatusCode::kNotFound : StatusCode::kInvalidArgument,
                       message);
    }
    std::unique_ptr<NpzFile> file(new NpzFile(std::move(archive)));
    ALAYA_RETURN_IF_ERROR(file->ReadHeaders());
    return file;
  }

  StatusOr<std::unique_ptr<ArrayReader>> OpenArray(const ArrayInfo& info) const override {
    const Location& location = locations_.at(info.name);
    ALAYA_ASSIGN_OR_RETURN(Entry entry, OpenEntry(location.entry));
    auto reader = std::make_unique<NpzReader>(std::move(entry), location.header_bytes + info.bytes);
    ALAYA_RETURN_IF_ERROR(reader->Skip(location.header_bytes));
    return reader;
  }

 private:
  struct Location {
    zip_uint64_t entry = 0;
    size_t header_bytes = 0;
  };

  explicit NpzFile(Archive archive) : archive_(std::move(archive)) {}

  Status ReadHeaders() {
    const zip_int64_t entry_count = zip_get_num_entries(archive_.get(), 0);
    for (zip_uint64_t i = 0; std::cmp_less(i, entry_count); ++i) {
      zip_stat_t attributes;
      if (zip_stat_index(archive_.get(), i, 0, &attributes) != 0 ||
          (attributes.valid & (ZIP_STAT_NAME | ZIP_STAT_SIZE)) != (ZIP_STAT_NAME | ZIP_STAT_SIZE)) {
        return InvalidArgument("entry " + std::to_string(i) + " has no name or size");
      }
      const std::string_view name = attributes.name;
      if (!name.ends_with(kEntrySuffix)) continue;
      const Status status =
          ReadHeader(i, name.substr(0, name.size() - kEntrySuffix.size()), attributes.size);
      if (!status.ok()) return Annotate(status, name);
    }
    return OkStatus();
  }

  Status ReadHeader(zip_uint64_t index, std::string_view name, uint64_t entry_bytes) {
    ALAYA_ASSIGN_OR_RETURN(Entry entry, OpenEntry(index));
    std::vector<std::byte> text(kNpyPreambleBytes);
    ALAYA_RETURN_IF_ERROR(ReadEntry(entry.get(), text));
    ALAYA_ASSIGN_OR_RETURN(const size_t header_bytes, NpyHeaderBytes(text));
    text.resize(header_bytes);
    ALAYA_RETURN_IF_ERROR(ReadEntry(entry.get(), std::span(text).subspan(kNpyPreambleBytes)));
    ALAYA_ASSIGN_OR_RETURN(NpyHeader header, ParseNpyHeader(text));
    if (entry_bytes - header_bytes != header.data_bytes) {
      return InvalidArgument("shape " + ShapeText(header.shape) + " needs " +
                             std::to_string(header.data_bytes) + " bytes, the entry has " +
                             std::to_string(entry_bytes - header_bytes));
    }
    const bool is_new = locations_.emplace(name, Location{index, header_bytes}).second;
    if (!is_new) return InvalidArgument("the name occurs twice");
    AddArray({std::string(name), header.type, std::move(header.shape), header.data_bytes});
    return OkStatus();
  }

  StatusOr<Entry> OpenEntry(zip_uint64_t index) const {
    Entry entry(zip_fopen_index(archive_.get(), index, 0));
    if (entry == nullptr) return InvalidArgument(zip_strerror(archive_.get()));
    return entry;
  }

  Archive archive_;
  std::map<std::string, Location> locations_;
};

}  // namespace

StatusOr<std::unique_ptr<ArrayFile>> OpenNpz(const std::string& path) {
  return NpzFile::Open(path);
}

}  // namespace alaya::client
