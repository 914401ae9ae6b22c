// Threads of a benchmark, and what their runs took.

#ifndef ALAYA_TESTS_BENCHMARKS_TEAM_H_
#define ALAYA_TESTS_BENCHMARKS_TEAM_H_

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace alaya {

inline double ThreadCpuMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

// What a run took: until the last thread was done, and the processor time of the
// busiest thread, which other processes disturb less.
struct Times {
  double wall_us = 0;
  double cpu_us = 0;
};

// One thread per core, the calling one among them; every Run is one task per kv head. A thread
// takes the next task when it is done with one, as the server does: heads differ in their work.
//
// Threads stay on a core each, the caller's only while it runs a task. Two that wake up at once may
// else be put on the same core, and share it for milliseconds while the other core idles.
class Team {
 public:
  explicit Team(size_t size) : start_(Count(size)), finish_(Count(size)), cpu_us_(size) {
    for (size_t i = 1; i < size; ++i) {
      threads_.emplace_back([this, i] {
        StayOnCore(i);
        for (start_.arrive_and_wait(); task_ != nullptr; start_.arrive_and_wait()) {
          Work(i);
          finish_.arrive_and_wait();
        }
      });
    }
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() {
    task_ = nullptr;
    start_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }

  Times Run(size_t count, const std::function<void(size_t)>& task) {
    count_ = count;
    next_ = 0;
    task_ = &task;
    cpu_set_t allowed;
    pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed);
    StayOnCore(0);
    const auto begin = std::chrono::steady_clock::now();
    start_.arrive_and_wait();
    Work(0);
    finish_.arrive_and_wait();
    const std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - begin;
    pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
    return {wall.count(), *std::ranges::max_element(cpu_us_)};
  }

 private:
  static std::ptrdiff_t Count(size_t size) { return static_cast<std::ptrdiff_t>(size); }

  // Where the system does not let it, the thread runs anywhere.
  static void StayOnCore(size_t core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
  }

  void Work(size_t thread) {
    const double begin_us = ThreadCpuMicroseconds();
    for (size_t j = next_++; j < count_; j = next_++) (*task_)(j);
    cpu_us_[thread] = ThreadCpuMicroseconds() - begin_us;
  }

  std::barrier<> start_;
  std::barrier<> finish_;
  const std::function<void(size_t)>* task_ = nullptr;
  size_t count_ = 0;
  std::atomic<size_t> next_{0};
  std::vector<double> cpu_us_;
  std::vector<std::thread> threads_;
};

// The times of the runs of one thing.
class Timing {
 public:
  void Add(Times times) {
    wall_us_.push_back(times.wall_us);
    cpu_us_.push_back(times.cpu_us);
  }
  double wall_us() const { return Median(wall_us_); }
  double cpu_us() const { return Median(cpu_us_); }
  double best_us() const { return *std::ranges::min_element(wall_us_); }

 private:
  static double Median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  }

  std::vector<double> wall_us_;
  std::vector<double> cpu_us_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_TEAM_H_
