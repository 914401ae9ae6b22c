// Backups: a consistent copy of the database with a manifest of its files. A backup's
// directory opens as a store.

#ifndef ALAYA_STORAGE_CONTEXT_BACKUP_H_
#define ALAYA_STORAGE_CONTEXT_BACKUP_H_

#include <cstdint>
#include <string>

#include "storage/database/database.h"
#include "storage/types/status.h"

namespace alaya {

// Where a store keeps its database, below its directory.
inline constexpr char kDatabaseDirectory[] = "db";
inline constexpr char kBackupManifest[] = "BACKUP";

// Writes a backup into `directory`, which appears only when it is complete. Returns
// its bytes.
// Errors: AlreadyExists if the directory exists; what the disk says.
StatusOr<uint64_t> WriteBackup(Database* database, const std::string& directory);

// Compares every file with the manifest. Errors: DataLoss, naming the file.
Status VerifyBackup(const std::string& directory);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_BACKUP_H_
