#include "storage/context/read_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace alaya {
namespace {

TEST(ReadPoolTest, EveryCallIsMadeOnceBeforeRunAllReturns) {
  ReadPool pool(4, 4);
  for (const size_t count : {0U, 1U, 2U, 7U, 1000U}) {
    std::vector<std::atomic<int>> calls(count);

    pool.RunAll(count, [&](size_t i) { calls[i].fetch_add(1); });

    for (size_t i = 0; i < count; ++i) EXPECT_EQ(calls[i].load(), 1) << i << " of " << count;
  }
}

TEST(ReadPoolTest, CallsAreUnderWayAtTheSameTime) {
  ReadPool pool(3, 3);
  std::latch together(4);

  // Ends only if the three threads and the caller are all inside.
  pool.RunAll(4, [&](size_t) { together.arrive_and_wait(); });
}

TEST(ReadPoolTest, WhatIsStartedHasEndedWhenItsHandleGoes) {
  ReadPool pool(1, 1);
  std::atomic<int> calls{0};
  {
    const ReadPool::Pending nothing = pool.Start(0, [&](size_t) { calls.fetch_add(1); });
    ReadPool::Pending first = pool.Start(3, [&](size_t) { calls.fetch_add(1); });
    first = pool.Start(4, [&](size_t) { calls.fetch_add(1); });
    EXPECT_GE(calls.load(), 3);
    const ReadPool::Pending moved = std::move(first);
  }

  EXPECT_EQ(calls.load(), 7);
}

TEST(ReadPoolTest, SeveralThreadsMayWaitAtATime) {
  ReadPool pool(2, 2);
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        std::atomic<int> own{0};
        pool.RunAll(5, [&](size_t) { own.fetch_add(1); });
        EXPECT_EQ(own.load(), 5);
        calls.fetch_add(own.load());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(calls.load(), 6 * 200 * 5);
}

TEST(ReadPoolTest, WhatIsWaitedForGoesBeforeWhatIsAnnounced) {
  ReadPool pool(1, 1);
  std::latch begun(1);
  std::latch may_go_on(1);
  std::atomic<int> announced{0};
  pool.Announce(100, [&](size_t i) {
    if (i == 0) {
      begun.count_down();
      may_go_on.wait();
    }
    announced.fetch_add(1);
  });
  begun.wait();

  pool.RunAll(3, [&](size_t) { EXPECT_EQ(announced.load(), 0); });

  EXPECT_EQ(pool.announced_count(), 99U);
  may_go_on.count_down();
}

TEST(ReadPoolTest, AnnouncedCallsLeaveThreadsForWhatIsWaitedFor) {
  ReadPool pool(3, 2);
  std::latch begun(2);
  std::latch may_go_on(1);
  std::atomic<int> announced{0};
  pool.Announce(5, [&](size_t) {
    if (announced.fetch_add(1) < 2) {
      begun.count_down();
      may_go_on.wait();
    }
  });
  begun.wait();
  std::latch together(2);

  // Ends only if the third thread makes one of the calls.
  pool.RunAll(2, [&](size_t) { together.arrive_and_wait(); });

  EXPECT_EQ(announced.load(), 2);
  EXPECT_EQ(pool.announced_count(), 3U);
  may_go_on.count_down();
  while (announced.load() < 5) std::this_thread::yield();
}

TEST(ReadPoolTest, WhatIsDroppedIsNotBegunAndAllElseIs) {
  std::latch busy(1);
  std::latch go(1);
  std::latch done(5 + 1);
  ReadPool pool(1, 1);
  pool.Announce(10,
                [&](size_t i) {
                  EXPECT_EQ(i, 0U) << "dropped";
                  busy.count_down();
                  go.wait();
                  done.count_down();
                },
                {1, 2});
  pool.Announce(5, [&](size_t) { done.count_down(); }, {1, 3});
  pool.Announce(7, [](size_t) { ADD_FAILURE() << "dropped"; }, {1, 2});
  busy.wait();

  pool.DropAnnounced({1, 2});
  pool.DropAnnounced({2, 2});  // nothing
  EXPECT_EQ(pool.announced_count(), 5U);

  go.count_down();
  done.wait();
  EXPECT_EQ(pool.announced_count(), 0U);
}

TEST(ReadPoolTest, AnnouncementsThatAreTooManyAreLeftOut) {
  ReadPool pool(1, 1);
  std::latch begun(1);
  std::latch may_go_on(1);
  pool.Announce(1, [&](size_t) {
    begun.count_down();
    may_go_on.wait();
  });
  begun.wait();

  pool.Announce(size_t{1} << 17, [](size_t) {});
  pool.Announce(1, [](size_t) { ADD_FAILURE() << "one too many"; });

  EXPECT_EQ(pool.announced_count(), size_t{1} << 17);
  may_go_on.count_down();
}

}  // namespace
}  // namespace alaya
