// Hands RocksDB's info log to a StorageLog.
//
// RocksDB's own logger writes a LOG file beside the data. The packaged library is
// built with asserts, and that logger asserts that its writes succeed: a full disk
// would end the process. So it is never used, not even without a StorageLog.

#ifndef ALAYA_STORAGE_DATABASE_ROCKSDB_LOGGER_H_
#define ALAYA_STORAGE_DATABASE_ROCKSDB_LOGGER_H_

#include <cstdarg>
#include <utility>

#include "rocksdb/env.h"
#include "storage/database/storage_log.h"

namespace alaya {

class RocksDbLogger : public rocksdb::Logger {
 public:
  explicit RocksDbLogger(StorageLog log);
  ~RocksDbLogger() override;

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override;
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override;

 private:
  StorageLog log_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_ROCKSDB_LOGGER_H_
