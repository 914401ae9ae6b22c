// Stops writing while there is room left: the catalog must always be able to grow, and
// what is stored must stay below its quota.

#ifndef ALAYA_STORAGE_CONTEXT_DISK_RESERVE_H_
#define ALAYA_STORAGE_CONTEXT_DISK_RESERVE_H_

#include <cstdint>
#include <string>

#include "storage/context/disk_quota.h"
#include "storage/types/status.h"

namespace alaya {

// Belongs to one writer.
class DiskReserve {
 public:
  // `directory` is on the file system that is watched; 0 bytes: it is not. `quota` may be
  // null and must outlive this.
  DiskReserve(std::string directory, uint64_t reserve_bytes, DiskQuota* quota);
  ~DiskReserve();
  DiskReserve(const DiskReserve&) = delete;
  DiskReserve& operator=(const DiskReserve&) = delete;

  // To be called before more is written; looks at the disk after every few megabytes.
  // Errors: ResourceExhausted if the file system has less left than the reserve, or the
  //   quota is used up.
  Status Check();
  void CountWritten(uint64_t bytes);

 private:
  const std::string directory_;
  const uint64_t reserve_bytes_;
  DiskQuota* const quota_;
  uint64_t unchecked_bytes_;  // written since free disk space was looked up
  uint64_t written_bytes_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_DISK_RESERVE_H_
