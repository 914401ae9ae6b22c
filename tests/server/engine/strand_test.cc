#include "server/engine/strand.h"

#include <gtest/gtest.h>

#include <latch>
#include <thread>
#include <vector>

namespace alaya {
namespace {

TEST(StrandTest, TasksRunOneAtATimeInTheOrderTheyCame) {
  std::vector<int> order;  // unguarded: a race detector sees two tasks at once
  {
    WorkerPool pool("test", 4);
    Strand strand(&pool);
    for (int i = 0; i < 1000; ++i) strand.Post([&order, i] { order.push_back(i); });
  }

  ASSERT_EQ(order.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(StrandTest, RunUsesTheCallingThreadWhenNothingIsAhead) {
  WorkerPool pool("test", 1);
  Strand strand(&pool);
  std::thread::id runner;

  strand.Run([&] { runner = std::this_thread::get_id(); });

  EXPECT_EQ(runner, std::this_thread::get_id());
}

TEST(StrandTest, RunWaitsForWhatIsAheadOfIt) {
  WorkerPool pool("test", 2);
  Strand strand(&pool);
  std::latch started(1);
  std::latch proceed(1);
  bool first_finished = false;
  strand.Post([&] {
    started.count_down();
    proceed.wait();
    first_finished = true;
  });
  started.wait();
  std::thread release([&] { proceed.count_down(); });

  bool seen_by_second = false;
  strand.Run([&] { seen_by_second = first_finished; });

  EXPECT_TRUE(seen_by_second);
  release.join();
}

TEST(StrandTest, TasksPostedDuringARunFollowIt) {
  WorkerPool pool("test", 2);
  Strand strand(&pool);
  std::latch second_ran(1);
  bool first_finished = false;
  bool seen_by_second = false;

  strand.Run([&] {
    strand.Post([&] {
      seen_by_second = first_finished;
      second_ran.count_down();
    });
    first_finished = true;
  });
  second_ran.wait();

  EXPECT_TRUE(seen_by_second);
}

TEST(StrandTest, ABusyStrandLetsOthersHaveTheThread) {
  WorkerPool pool("test", 1);
  Strand busy(&pool);
  Strand other(&pool);
  std::latch finished(2);
  int busy_count = 0;
  int busy_count_seen = -1;
  for (int i = 0; i < 100; ++i) {
    busy.Post([&] {
      if (++busy_count == 1) {
        other.Post([&] {
          busy_count_seen = busy_count;
          finished.count_down();
        });
      }
      if (busy_count == 100) finished.count_down();
    });
  }
  finished.wait();

  EXPECT_GT(busy_count_seen, 0);
  EXPECT_LT(busy_count_seen, 100);
}

}  // namespace
}  // namespace alaya
