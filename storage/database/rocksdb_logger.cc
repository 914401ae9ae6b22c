#include "storage/database/rocksdb_logger.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

namespace alaya {
namespace {

// Longer messages (dumps of all options) are cut.
constexpr size_t kMessageBytesMax = 2048;

// What RocksDB calls information is news only to somebody who debugs it.
StorageLogLevel Level(rocksdb::InfoLogLevel level) {
  if (level >= rocksdb::InfoLogLevel::ERROR_LEVEL && level <= rocksdb::InfoLogLevel::FATAL_LEVEL) {
    return StorageLogLevel::kError;
  }
  if (level == rocksdb::InfoLogLevel::WARN_LEVEL) return StorageLogLevel::kWarning;
  return StorageLogLevel::kDebug;
}

}  // namespace

RocksDbLogger::RocksDbLogger(StorageLog log)
    : rocksdb::Logger(rocksdb::InfoLogLevel::INFO_LEVEL), log_(std::move(log)) {}

RocksDbLogger::~RocksDbLogger() = default;

void RocksDbLogger::Logv(const char* format, va_list arguments) {
  Logv(rocksdb::InfoLogLevel::INFO_LEVEL, format, arguments);
}

void RocksDbLogger::Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) {
  if (log_ == nullptr || level < GetInfoLogLevel()) return;
  char message[kMessageBytesMax];
  const int length = std::vsnprintf(message, sizeof(message), format, arguments);
  if (length < 0) return;
  const size_t kept = std::min(static_cast<size_t>(length), sizeof(message) - 1);
  log_(Level(level), "rocksdb: " + std::string(message, kept));
}

}  // namespace alaya
