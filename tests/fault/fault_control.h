// What goes wrong in a server that runs under the shim (fault_shim.cc): a page that the
// test and the server both map. Zero: nothing.
//
// The shim needs FAULT_CONTROL, the page's file, and FAULT_DIRECTORY, below which files
// are struck, in its environment.

#ifndef ALAYA_TESTS_FAULT_FAULT_CONTROL_H_
#define ALAYA_TESTS_FAULT_FAULT_CONTROL_H_

#include <atomic>
#include <cstdint>

namespace alaya {

struct FaultControl {
  // One in so many writes, syncs and creations of files fails with this errno.
  std::atomic<uint32_t> write_error_interval{0};
  std::atomic<int32_t> write_errno{0};
  // One in so many reads fails with EIO.
  std::atomic<uint32_t> read_error_interval{0};
  // Every read, write and sync takes so much longer.
  std::atomic<uint32_t> delay_us{0};
  // The wall clock is so much ahead; the steady clock is not.
  std::atomic<int64_t> clock_offset_s{0};
  // Calls that failed because of the above.
  std::atomic<uint64_t> struck_count{0};
};

inline constexpr char kFaultControlVariable[] = "FAULT_CONTROL";
inline constexpr char kFaultDirectoryVariable[] = "FAULT_DIRECTORY";

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_FAULT_CONTROL_H_
