// Dead segments are dropped, also by a disk that fails for a while.

#include "storage/context/segment_reaper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace alaya {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::ElementsAre;

// A disk that drops segments unless it fails.
class Disk {
 public:
  bool Drop(const SegmentReaper::Dead& dead) {
    const std::lock_guard lock(mutex_);
    ++tries_;
    changed_.notify_all();
    if (failing_) return false;
    dropped_.push_back(ToInt(dead.id));
    return true;
  }
  void set_failing(bool failing) {
    const std::lock_guard lock(mutex_);
    failing_ = failing;
  }
  void WaitForTries(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tries_ >= count; });
  }
  // In the order in which it happened, once there are so many.
  std::vector<uint64_t> WaitForDropped(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return dropped_.size() >= count; });
    return dropped_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool failing_ = false;
  size_t tries_ = 0;
  std::vector<uint64_t> dropped_;
};

void LetDie(const SegmentReaper& reaper, uint64_t id) {
  auto segment = std::make_unique<Segment>();
  segment->id = SegmentId{id};
  reaper.Adopt(std::move(segment));
}

TEST(SegmentReaperTest, DropsWhatDiedBeforeAndAfterTheStart) {
  Disk disk;
  SegmentReaper reaper;
  LetDie(reaper, 1);

  reaper.Start([&disk](const SegmentReaper::Dead& dead) { return disk.Drop(dead); });
  LetDie(reaper, 2);
  reaper.Flush();

  EXPECT_THAT(disk.WaitForDropped(2), ElementsAre(1, 2));
}

TEST(SegmentReaperTest, TriesAgainUntilTheDiskAnswers) {
  Disk disk;
  disk.set_failing(true);
  SegmentReaper reaper(milliseconds(1));
  reaper.Start([&disk](const SegmentReaper::Dead& dead) { return disk.Drop(dead); });

  LetDie(reaper, 1);
  disk.WaitForTries(3);
  disk.set_failing(false);

  EXPECT_THAT(disk.WaitForDropped(1), ElementsAre(1));
}

TEST(SegmentReaperTest, OneSuccessBringsBackAllThatFailed) {
  Disk disk;
  disk.set_failing(true);
  SegmentReaper reaper(hours(1));
  reaper.Start([&disk](const SegmentReaper::Dead& dead) { return disk.Drop(dead); });
  LetDie(reaper, 1);
  LetDie(reaper, 2);
  reaper.Flush();

  disk.set_failing(false);
  LetDie(reaper, 3);

  EXPECT_THAT(disk.WaitForDropped(3), ElementsAre(3, 1, 2));
}

TEST(SegmentReaperTest, EndsWhileTheDiskFails) {
  Disk disk;
  disk.set_failing(true);
  SegmentReaper reaper(hours(1));
  reaper.Start([&disk](const SegmentReaper::Dead& dead) { return disk.Drop(dead); });
  LetDie(reaper, 1);

  reaper.Stop();

  disk.set_failing(false);
  LetDie(reaper, 2);  // ignored
}

}  // namespace
}  // namespace alaya
