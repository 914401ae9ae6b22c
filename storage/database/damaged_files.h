// Files of pages that cannot even be opened, so that they do not keep the database
// from opening.
//
// RocksDB refuses a database whole when one file is missing, has another length, or
// cannot be parsed. All other files are sound then, and so are the contexts in them.

#ifndef ALAYA_STORAGE_DATABASE_DAMAGED_FILES_H_
#define ALAYA_STORAGE_DATABASE_DAMAGED_FILES_H_

#include <string>
#include <vector>

#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "storage/database/storage_log.h"
#include "storage/types/status.h"

namespace alaya {

// Which database; its last column family holds pages.
struct DatabaseFiles {
  const rocksdb::DBOptions& options;
  const std::vector<rocksdb::ColumnFamilyDescriptor>& families;
  std::string directory;
};

// Moves the damaged files of pages to `damaged/` below the directory and makes the
// database forget them. Returns how many they were.
//
// Errors: those of a disk that cannot be read just now: nothing more is set aside then.
// Cost: opens every file of pages; for a database that does not open.
StatusOr<size_t> SetDamagedFilesAside(const DatabaseFiles& files, const StorageLog& log);

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_DAMAGED_FILES_H_
