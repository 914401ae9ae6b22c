// Tasks that wait in lanes, each of which gets its share of the time.
//
// The next task comes from the lane whose tasks have taken the least time so far, so that
// a lane with a thousand waiting tasks does not hold up one that has a task now and then.
// A lane that was empty starts from where the others are: idling saves nothing up. This is
// start-time fair queueing with costs that are known afterwards.
//
// Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996.

#ifndef ALAYA_SERVER_ENGINE_FAIR_QUEUE_H_
#define ALAYA_SERVER_ENGINE_FAIR_QUEUE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace alaya {

// Not thread-safe.
class FairQueue {
 public:
  using Task = std::function<void()>;
  using Lane = size_t;
  // For what belongs to nobody in particular.
  static constexpr Lane kCommonLane = 0;
  // More names than this share one lane.
  static constexpr size_t kLanesMax = 1024;

  FairQueue() : lanes_(1) {}

  // The lane of this name; makes it at the first call.
  Lane LaneOf(std::string_view name);

  void Push(Lane lane, Task task);

  struct Next {
    Lane lane = kCommonLane;
    Task task;
  };
  // Requires: not empty.
  Next Pop();
  // Counts the time that a task of the lane took.
  void Charge(Lane lane, double seconds) { lanes_[lane].used_seconds += seconds; }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  // True if a task of another lane waits.
  bool OthersWait(Lane lane) const { return size_ > lanes_[lane].tasks.size(); }

 private:
  struct Waiting {
    std::deque<Task> tasks;
    double used_seconds = 0;  // since the queue began, plus what idling cost
  };

  std::vector<Waiting> lanes_;
  std::map<std::string, Lane, std::less<>> names_;
  size_t size_ = 0;
  double now_seconds_ = 0;  // used_seconds of the lane that was served last, then
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_FAIR_QUEUE_H_
