// Stops writing while there is room left: the catalog must always be able to grow.

#ifndef ALAYA_STORAGE_CONTEXT_DISK_RESERVE_H_
#define ALAYA_STORAGE_CONTEXT_DISK_RESERVE_H_

#include <cstdint>
#include <string>

#include "storage/types/status.h"

namespace alaya {

// Belongs to one writer.
class DiskReserve {
 public:
  // `directory` is on the file system that is watched; 0 bytes: nothing is.
  DiskReserve(std::string directory, uint64_t reserve_bytes);

  // To be called before more is written; looks at the disk after every few megabytes.
  // Errors: ResourceExhausted if the file system has less left than the reserve.
  Status Check();
  void CountWritten(uint64_t bytes) { unchecked_bytes_ += bytes; }

 private:
  std::string directory_;
  uint64_t reserve_bytes_;
  uint64_t unchecked_bytes_;  // written since free disk space was looked up
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_DISK_RESERVE_H_
