#include "server/engine/fair_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace alaya {
namespace {

using Lane = FairQueue::Lane;

void Fill(FairQueue* queue, Lane lane, int count) {
  for (int i = 0; i < count; ++i) queue->Push(lane, [] {});
}

// How many of the next `count` tasks each lane gets, if a task takes its lane's time.
std::map<Lane, int> Serve(FairQueue* queue, int count, const std::map<Lane, double>& seconds) {
  std::map<Lane, int> served;
  for (int i = 0; i < count; ++i) {
    const Lane lane = queue->Pop().lane;
    queue->Charge(lane, seconds.at(lane));
    ++served[lane];
  }
  return served;
}

TEST(FairQueueTest, ALaneKeepsItsOrder) {
  FairQueue queue;
  std::string order;
  for (const char letter : std::string("abc")) {
    queue.Push(FairQueue::kCommonLane, [&order, letter] { order += letter; });
  }

  while (!queue.empty()) queue.Pop().task();

  EXPECT_EQ(order, "abc");
}

TEST(FairQueueTest, ALongLaneDoesNotHoldUpAShortOne) {
  FairQueue queue;
  const Lane crowd = queue.LaneOf("crowd");
  const Lane single = queue.LaneOf("single");
  Fill(&queue, crowd, 1000);
  Serve(&queue, 100, {{crowd, 1.0}});

  Fill(&queue, single, 1);

  EXPECT_TRUE(queue.OthersWait(crowd));
  EXPECT_EQ(queue.Pop().lane, single);
  EXPECT_FALSE(queue.OthersWait(crowd));
  EXPECT_TRUE(queue.OthersWait(single));
}

TEST(FairQueueTest, LanesShareTheTimeNotTheNumberOfTasks) {
  FairQueue queue;
  const Lane slow = queue.LaneOf("slow");
  const Lane fast = queue.LaneOf("fast");
  Fill(&queue, slow, 1000);
  Fill(&queue, fast, 1000);

  const auto served = Serve(&queue, 550, {{slow, 10.0}, {fast, 1.0}});

  EXPECT_NEAR(served.at(slow), 50, 1);
  EXPECT_NEAR(served.at(fast), 500, 1);
}

TEST(FairQueueTest, IdlingSavesNothingUp) {
  FairQueue queue;
  const Lane busy = queue.LaneOf("busy");
  const Lane idle = queue.LaneOf("idle");
  Fill(&queue, busy, 2000);
  Serve(&queue, 1000, {{busy, 1.0}});

  Fill(&queue, idle, 1000);
  const auto served = Serve(&queue, 100, {{busy, 1.0}, {idle, 1.0}});

  EXPECT_NEAR(served.at(busy), 50, 1);
}

TEST(FairQueueTest, AnOldDebtDoesNotStarveALaneForEver) {
  FairQueue queue;
  const Lane first = queue.LaneOf("first");
  const Lane second = queue.LaneOf("second");
  Fill(&queue, first, 1);
  Serve(&queue, 1, {{first, 3.0}});
  Fill(&queue, first, 10);
  Fill(&queue, second, 10);

  const auto served = Serve(&queue, 5, {{first, 1.0}, {second, 1.0}});

  EXPECT_EQ(served.at(second), 4);  // three for the debt, then in turn
  EXPECT_EQ(served.at(first), 1);
}

TEST(FairQueueTest, NamesKeepTheirLanesAndTooManyShareOne) {
  FairQueue queue;
  const Lane first = queue.LaneOf("first");
  for (size_t i = 0; i < 2 * FairQueue::kLanesMax; ++i) queue.LaneOf(std::to_string(i));

  EXPECT_EQ(queue.LaneOf("first"), first);
  EXPECT_NE(first, FairQueue::kCommonLane);
  EXPECT_EQ(queue.LaneOf("one more"), queue.LaneOf("yet another"));
  Fill(&queue, queue.LaneOf("one more"), 1);
  EXPECT_EQ(queue.size(), 1);
}

}  // namespace
}  // namespace alaya
