// Time that an answer took, as its report has it.

#ifndef ALAYA_CUDA_BACKEND_ELAPSED_H_
#define ALAYA_CUDA_BACKEND_ELAPSED_H_

#include <chrono>
#include <cstdint>

namespace alaya {

inline uint64_t NanosecondsSince(std::chrono::steady_clock::time_point begin) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin)
          .count());
}

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_ELAPSED_H_
