#include "storage/database/page_file.h"

#include <utility>

#include "rocksdb/options.h"
#include "rocksdb/sst_file_writer.h"
#include "storage/database/rocksdb_status.h"

namespace alaya {

struct PageFileWriter::Impl {
  explicit Impl(const rocksdb::Options& options)
      // Keeps what was written in the page cache: a context is usually read soon.
      : writer(rocksdb::EnvOptions(options), options, /*column_family=*/nullptr,
               /*invalidate_page_cache=*/false) {}
  rocksdb::SstFileWriter writer;
};

PageFileWriter::PageFileWriter(std::unique_ptr<Impl> impl, std::string path)
    : impl_(std::move(impl)), path_(std::move(path)) {}
PageFileWriter::~PageFileWriter() = default;

StatusOr<std::unique_ptr<PageFileWriter>> PageFileWriter::Open(const Database& database,
                                                               std::string path) {
  auto impl = std::make_unique<Impl>(database.page_file_options());
  ALAYA_RETURN_IF_ERROR(FromRocksDb(impl->writer.Open(path), "create page file"));
  return std::unique_ptr<PageFileWriter>(new PageFileWriter(std::move(impl), std::move(path)));
}

Status PageFileWriter::Add(const std::string& key, std::span<const std::byte> stored) {
  const rocksdb::Slice value(reinterpret_cast<const char*>(stored.data()), stored.size());
  return FromRocksDb(impl_->writer.Put(key, value), "write page file");
}

StatusOr<uint64_t> PageFileWriter::Finish() {
  rocksdb::ExternalSstFileInfo info;
  ALAYA_RETURN_IF_ERROR(FromRocksDb(impl_->writer.Finish(&info), "finish page file"));
  return info.file_size;
}

uint64_t PageFileWriter::file_bytes() const { return impl_->writer.FileSize(); }

}  // namespace alaya
