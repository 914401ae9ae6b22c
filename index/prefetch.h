// Memory that is read soon.

#ifndef ALAYA_INDEX_PREFETCH_H_
#define ALAYA_INDEX_PREFETCH_H_

#include <cstddef>

namespace alaya {

// Asks for `bytes` bytes, which come into the first-level cache while something else is done.
inline void Prefetch(const void* begin, size_t bytes) {
  const auto* line = static_cast<const std::byte*>(begin);
  for (const std::byte* end = line + bytes; line < end; line += 64) __builtin_prefetch(line);
  // GCC takes a function that only prefetches for one without effects, and drops its calls.
  asm volatile("");
}

}  // namespace alaya

#endif  // ALAYA_INDEX_PREFETCH_H_
