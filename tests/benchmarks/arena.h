// Memory of a benchmark.

#ifndef ALAYA_TESTS_BENCHMARKS_ARENA_H_
#define ALAYA_TESTS_BENCHMARKS_ARENA_H_

#include <sys/mman.h>

#include <cstddef>

#include "storage/types/check.h"

namespace alaya {

// Memory in huge pages where the system grants them, as a server's page cache.
class Arena {
 public:
  explicit Arena(size_t bytes) : bytes_(bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ALAYA_CHECK(memory != MAP_FAILED);
    madvise(memory, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { munmap(data_, bytes_); }

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_ARENA_H_
