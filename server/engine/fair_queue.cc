#include "server/engine/fair_queue.h"

#include <algorithm>
#include <utility>

#include "storage/types/check.h"

namespace alaya {

FairQueue::Lane FairQueue::LaneOf(std::string_view name) {
  const auto found = names_.find(name);
  if (found != names_.end()) return found->second;
  // Names are not remembered without end, either.
  if (lanes_.size() == kLanesMax) return kLanesMax - 1;
  names_.emplace(name, lanes_.size());
  lanes_.emplace_back();
  return lanes_.size() - 1;
}

void FairQueue::Push(Lane lane, Task task) {
  Waiting& waiting = lanes_[lane];
  if (waiting.tasks.empty()) waiting.used_seconds = std::max(waiting.used_seconds, now_seconds_);
  waiting.tasks.push_back(std::move(task));
  ++size_;
}

FairQueue::Next FairQueue::Pop() {
  ALAYA_CHECK(size_ > 0);
  Lane least = lanes_.size();
  for (Lane lane = 0; lane < lanes_.size(); ++lane) {
    if (lanes_[lane].tasks.empty()) continue;
    if (least == lanes_.size() || lanes_[lane].used_seconds < lanes_[least].used_seconds) {
      least = lane;
    }
  }
  Waiting& waiting = lanes_[least];
  now_seconds_ = std::max(now_seconds_, waiting.used_seconds);
  Next next{least, std::move(waiting.tasks.front())};
  waiting.tasks.pop_front();
  --size_;
  return next;
}

}  // namespace alaya
