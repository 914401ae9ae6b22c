#include "tests/support/process_memory.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string>

namespace alaya {

StatusOr<ProcessMemory> ReadProcessMemory(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  ProcessMemory memory;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kibibytes = 0;
    if (!(words >> name >> kibibytes)) continue;
    if (name == "VmRSS:") memory.resident_bytes = kibibytes * 1024;
    if (name == "VmHWM:") memory.resident_bytes_max = kibibytes * 1024;
  }
  if (memory.resident_bytes == 0) return NotFound(fmt::format("no running process {}", pid));
  return memory;
}

}  // namespace alaya
