// How much memory a process holds, as the kernel counts it.

#ifndef ALAYA_TESTS_SUPPORT_PROCESS_MEMORY_H_
#define ALAYA_TESTS_SUPPORT_PROCESS_MEMORY_H_

#include <sys/types.h>

#include <cstdint>

#include "storage/types/status.h"

namespace alaya {

struct ProcessMemory {
  uint64_t resident_bytes = 0;      // VmRSS
  uint64_t resident_bytes_max = 0;  // VmHWM: the largest it has been
};

// Reads /proc/PID/status. Errors: NotFound if there is no such process, or it has
// ended and was not waited for.
StatusOr<ProcessMemory> ReadProcessMemory(pid_t pid);

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_PROCESS_MEMORY_H_
