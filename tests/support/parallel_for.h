// Runs a function for every index on all cores; for tests and benchmarks only.

#ifndef ALAYA_TESTS_SUPPORT_PARALLEL_FOR_H_
#define ALAYA_TESTS_SUPPORT_PARALLEL_FOR_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace alaya {

// Calls function(i) for i in [0, count), in any order and at the same time.
template <typename Function>
void ParallelFor(size_t count, const Function& function) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) function(i);
  };
  const size_t thread_count = std::min<size_t>(count, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < thread_count; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_PARALLEL_FOR_H_
