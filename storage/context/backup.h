// Backups: a consistent copy of the database with a manifest of its files. A backup's
// directory opens as a store.

#ifndef ALAYA_STORAGE_CONTEXT_BACKUP_H_
#define ALAYA_STORAGE_CONTEXT_BACKUP_H_

#include <cstdint>
#include <string>

#include "storage/context/store_check.h"
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

// True if the directory holds a backup's manifest.
bool IsBackup(const std::string& directory);

// Compares every file with the manifest. Errors: NotFound if there is none; DataLoss,
// naming the file.
Status VerifyBackup(const std::string& directory, const ByteProgress& progress = nullptr);

// Copies a backup to a new directory that a server can open, which appears only when it
// is complete; every file is compared with the manifest on the way. Returns its bytes.
// Errors: NotFound if `backup` holds none; AlreadyExists if `directory` exists and is not
//   empty; DataLoss, naming the file; what the disk says.
StatusOr<uint64_t> RestoreBackup(const std::string& backup, const std::string& directory,
                                 const ByteProgress& progress = nullptr);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_BACKUP_H_
