// Writes one file of pages, to be ingested whole into the database.

#ifndef ALAYA_STORAGE_DATABASE_PAGE_FILE_H_
#define ALAYA_STORAGE_DATABASE_PAGE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "storage/database/database.h"
#include "storage/types/status.h"

namespace alaya {

// Life: Open -> Add in rising key order -> Finish. A file that was not finished is
// garbage; whoever owns its directory removes it.
class PageFileWriter {
 public:
  // `database` must outlive the writer.
  static StatusOr<std::unique_ptr<PageFileWriter>> Open(const Database& database, std::string path);
  ~PageFileWriter();
  PageFileWriter(const PageFileWriter&) = delete;
  PageFileWriter& operator=(const PageFileWriter&) = delete;

  Status Add(const std::string& key, std::span<const std::byte> stored);
  // Makes the file durable and returns its bytes. Requires at least one page.
  StatusOr<uint64_t> Finish();

  uint64_t file_bytes() const;
  const std::string& path() const { return path_; }

 private:
  struct Impl;
  PageFileWriter(std::unique_ptr<Impl> impl, std::string path);

  std::unique_ptr<Impl> impl_;
  std::string path_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_PAGE_FILE_H_
