// Reads a whole store and says which contexts are damaged; for a store that no server
// has open.

#ifndef ALAYA_STORAGE_CONTEXT_STORE_CHECK_H_
#define ALAYA_STORAGE_CONTEXT_STORE_CHECK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "storage/database/storage_log.h"
#include "storage/types/status.h"

namespace alaya {

// Called now and then while much is read; not from several threads at once.
using ByteProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

struct CheckedContext {
  std::string tenant;
  std::string id;
  std::string model;
  uint64_t token_count = 0;
  // Bytes on disk of its segments and their indexes, those that it shares included.
  uint64_t stored_bytes = 0;
  // What cannot be read as it was written. Damage to an index costs time, not answers:
  // it is built anew when it is next needed.
  std::vector<std::string> damages = {};
};

struct StoreCheckReport {
  uint64_t page_count = 0;               // of keys, values, queries and indexes, each read once
  uint64_t read_bytes = 0;               // their payloads
  std::vector<CheckedContext> contexts;  // by tenant, then falling create time

  uint64_t damaged_context_count() const;
};

// Reads every page and every block of an index, as queries would, and compares identity
// and checksum. Changes nothing in the directory, which may be a backup; of one the
// manifest is not compared (VerifyBackup does).
//
// Errors: FailedPrecondition if a server has the store open or there is none; DataLoss
//   if its catalog is damaged, so that nothing can be said of single contexts.
StatusOr<StoreCheckReport> CheckStore(const std::string& directory, const ByteProgress& progress,
                                      StorageLog log);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_STORE_CHECK_H_
