// RocksDB's errors in our words; the one place that maps them.

#ifndef ALAYA_STORAGE_DATABASE_ROCKSDB_STATUS_H_
#define ALAYA_STORAGE_DATABASE_ROCKSDB_STATUS_H_

#include <string_view>

#include "rocksdb/status.h"
#include "storage/types/status.h"

namespace alaya {

// `action` says what was tried: "ingest pages".
Status FromRocksDb(const rocksdb::Status& status, std::string_view action);

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_ROCKSDB_STATUS_H_
