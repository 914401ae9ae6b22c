#include "server/engine/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <thread>
#include <vector>

namespace alaya {
namespace {

TEST(WorkerPoolTest, OneThreadRunsTasksInTheOrderGiven) {
  std::vector<int> order;
  {
    WorkerPool pool("test", 1);
    for (int i = 0; i < 100; ++i) pool.Post([&order, i] { order.push_back(i); });
  }

  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(WorkerPoolTest, DestructionRunsWhatWasPosted) {
  std::atomic<int> run_count{0};
  {
    WorkerPool pool("test", 3);
    for (int i = 0; i < 1000; ++i) pool.Post([&run_count] { ++run_count; });
  }

  EXPECT_EQ(run_count, 1000);
}

TEST(WorkerPoolTest, EveryIdleThreadIsWokenForBlockedTasks) {
  constexpr int kThreads = 4;
  WorkerPool pool("test", kThreads);
  std::latch all_running(kThreads);
  std::latch finished(kThreads);

  // Ends only if all tasks run at the same time.
  for (int i = 0; i < kThreads; ++i) {
    pool.Post([&] {
      all_running.arrive_and_wait();
      finished.count_down();
    });
  }

  finished.wait();
}

TEST(WorkerPoolTest, QueueLengthCountsTasksThatHaveNotStarted) {
  WorkerPool pool("test", 1);
  std::latch started(1);
  std::latch proceed(1);
  pool.Post([&] {
    started.count_down();
    proceed.wait();
  });
  started.wait();

  pool.Post([] {});
  pool.Post([] {});

  EXPECT_EQ(pool.queue_length(), 2U);
  proceed.count_down();
}

class ParallelForTest : public testing::TestWithParam<size_t> {};

TEST_P(ParallelForTest, RunsEveryIndexOnce) {
  WorkerPool pool("test", GetParam());
  for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{7}, size_t{1000}}) {
    std::vector<std::atomic<int>> run_counts(count);

    pool.ParallelFor(count, [&](size_t i) { ++run_counts[i]; });

    for (const auto& run_count : run_counts) EXPECT_EQ(run_count, 1);
  }
}

TEST_P(ParallelForTest, NestsInTasksOfThePool) {
  WorkerPool pool("test", GetParam());
  std::atomic<int> run_count{0};

  pool.ParallelFor(8, [&](size_t) { pool.ParallelFor(8, [&](size_t) { ++run_count; }); });

  EXPECT_EQ(run_count, 64);
}

TEST_P(ParallelForTest, ServesManyCallersAtOnce) {
  WorkerPool pool("test", GetParam());
  std::atomic<int> run_count{0};
  std::vector<std::thread> callers;
  callers.reserve(6);
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        pool.ParallelFor(5, [&](size_t) { ++run_count; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();

  EXPECT_EQ(run_count, 6 * 50 * 5);
}

INSTANTIATE_TEST_SUITE_P(Threads, ParallelForTest, testing::Values(1, 2, 5));

}  // namespace
}  // namespace alaya
