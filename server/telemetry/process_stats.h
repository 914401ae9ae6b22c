// What the operating system says about this process.

#ifndef ALAYA_SERVER_TELEMETRY_PROCESS_STATS_H_
#define ALAYA_SERVER_TELEMETRY_PROCESS_STATS_H_

#include <cstdint>

namespace alaya {

struct ProcessStats {
  uint64_t resident_bytes = 0;
  double cpu_seconds = 0;  // user and system, all threads
  uint64_t open_files = 0;
  uint64_t open_files_max = 0;
};

// Fields that cannot be read stay 0.
ProcessStats ReadProcessStats();
// Just this one, cheaply.
uint64_t ReadResidentBytes();

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_PROCESS_STATS_H_
