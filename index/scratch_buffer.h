// Memory that one thread uses again and again.
//
// A block's scores, weights and sums live for microseconds; taking them from the heap
// each time would cost page faults (large allocations go back to the system). Hot
// functions keep a thread_local ScratchBuffer instead: it grows to the largest use
// and stays for the life of the thread.

#ifndef ALAYA_INDEX_SCRATCH_BUFFER_H_
#define ALAYA_INDEX_SCRATCH_BUFFER_H_

#include <cstddef>
#include <span>
#include <type_traits>

#include "hwy/aligned_allocator.h"

namespace alaya {

template <typename T>
class ScratchBuffer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  // `count` elements with unspecified content, aligned to a cache line; valid until
  // the next call.
  std::span<T> Take(size_t count) {
    if (count > capacity_) {
      capacity_ = count + count / 2;
      data_ = hwy::AllocateAligned<T>(capacity_);
    }
    return {data_.get(), count};
  }

 private:
  hwy::AlignedFreeUniquePtr<T[]> data_;
  size_t capacity_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_SCRATCH_BUFFER_H_
