#include "storage/context/segment_reaper.h"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>

namespace alaya {

struct SegmentReaper::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Dead> dead;
  std::deque<Dead> failed;  // to be tried again
  uint64_t posted_count = 0;
  uint64_t dropped_count = 0;
  bool stopped = false;

  void Post(Dead one) {
    const std::lock_guard lock(mutex);
    if (stopped) return;
    dead.push_back(one);
    ++posted_count;
    changed.notify_all();
  }

  void Retry(size_t count) {
    for (; count > 0; --count) {
      dead.push_back(failed.front());
      failed.pop_front();
      ++posted_count;
    }
  }
};

SegmentReaper::SegmentReaper(std::chrono::milliseconds retry_interval)
    : retry_interval_(retry_interval), queue_(std::make_shared<Queue>()) {}

SegmentReaper::~SegmentReaper() { Stop(); }

std::shared_ptr<const Segment> SegmentReaper::Adopt(std::unique_ptr<const Segment> segment) const {
  return {segment.release(), [queue = queue_](const Segment* one) {
            const Dead dead{one->id, one->token_count};
            delete one;
            queue->Post(dead);
          }};
}

std::shared_ptr<const StoredIndex> SegmentReaper::Adopt(
    std::unique_ptr<const StoredIndex> index) const {
  return {index.release(), [queue = queue_](const StoredIndex* one) {
            const Dead dead{.id = one->id};
            delete one;
            queue->Post(dead);
          }};
}

void SegmentReaper::Start(std::function<bool(const Dead&)> drop) {
  drop_ = std::move(drop);
  thread_ = std::thread([this] { Run(); });
}

void SegmentReaper::Flush() {
  std::unique_lock lock(queue_->mutex);
  const uint64_t target = queue_->posted_count;
  queue_->changed.wait(lock, [&] { return queue_->dropped_count >= target || queue_->stopped; });
}

void SegmentReaper::Stop() {
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->stopped = true;
    queue_->changed.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void SegmentReaper::Run() {
  std::unique_lock lock(queue_->mutex);
  const auto is_due = [this] { return !queue_->dead.empty() || queue_->stopped; };
  for (;;) {
    if (queue_->failed.empty()) {
      queue_->changed.wait(lock, is_due);
    } else if (!queue_->changed.wait_for(lock, retry_interval_, is_due)) {
      queue_->Retry(1);
    }
    if (queue_->dead.empty()) return;
    const Dead dead = queue_->dead.front();
    queue_->dead.pop_front();
    lock.unlock();
    const bool dropped = drop_(dead);
    lock.lock();
    if (dropped) {
      // The disk answers: perhaps for the others, too.
      queue_->Retry(queue_->failed.size());
    } else {
      queue_->failed.push_back(dead);
    }
    ++queue_->dropped_count;
    queue_->changed.notify_all();
  }
}

}  // namespace alaya
