// Memory of a benchmark.

#ifndef ALAYA_TESTS_BENCHMARKS_ARENA_H_
#define ALAYA_TESTS_BENCHMARKS_ARENA_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "storage/types/check.h"

namespace alaya {

// Memory in huge pages where the system grants them, as a server's page cache.
class Arena {
 public:
  explicit Arena(size_t bytes) {
    const size_t whole_bytes = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    mapping_bytes_ = whole_bytes + kHugePageBytes;
    mapping_ =
        mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ALAYA_CHECK(mapping_ != MAP_FAILED);
    // Only what begins on a huge page's boundary gets huge pages from its begin on.
    const size_t misaligned = reinterpret_cast<uintptr_t>(mapping_) % kHugePageBytes;
    data_ = static_cast<std::byte*>(mapping_) + (kHugePageBytes - misaligned) % kHugePageBytes;
    madvise(data_, whole_bytes, MADV_HUGEPAGE);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { munmap(mapping_, mapping_bytes_); }

  std::byte* data() const { return data_; }

 private:
  static constexpr size_t kHugePageBytes = size_t{2} << 20;

  size_t mapping_bytes_ = 0;
  void* mapping_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_ARENA_H_
