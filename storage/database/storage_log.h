// Where the storage engine's messages go; only server/ writes logs. Who learns of damage.

#ifndef ALAYA_STORAGE_DATABASE_STORAGE_LOG_H_
#define ALAYA_STORAGE_DATABASE_STORAGE_LOG_H_

#include <functional>
#include <string_view>

namespace alaya {

enum class StorageLogLevel { kDebug, kInfo, kWarning, kError };
// Called from any thread, RocksDB's included.
using StorageLog = std::function<void(StorageLogLevel, std::string_view message)>;

// Told that bytes on disk are not what was written. Called from any thread.
using DamageObserver = std::function<void(std::string_view damage)>;

}  // namespace alaya

#endif  // ALAYA_STORAGE_DATABASE_STORAGE_LOG_H_
