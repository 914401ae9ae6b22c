#include "storage/context/read_pool.h"

#include <algorithm>
#include <utility>

namespace alaya {
namespace {

// Calls that may be announced: a few contexts' indexes.
constexpr size_t kAnnouncedMax = size_t{1} << 17;

}  // namespace

struct ReadPool::Batch {
  size_t count = 0;
  Task task;
  Purpose purpose = {};
  size_t next = 0;
  size_t ended = 0;
};

ReadPool::ReadPool(size_t thread_count, size_t announced_max) : announced_max_(announced_max) {
  threads_.reserve(thread_count);
  for (size_t i = 0; i < thread_count; ++i) threads_.emplace_back([this] { Work(); });
}

ReadPool::~ReadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// Not all for one call: that would take longer than many a read.
void ReadPool::WakeUpTo(size_t count) {
  if (count >= threads_.size()) return added_.notify_all();
  for (size_t i = 0; i < count; ++i) added_.notify_one();
}

ReadPool::Queue* ReadPool::NextQueue() {
  if (!awaited_.empty()) return &awaited_;
  const bool may_begin = !announced_.empty() && announced_running_ < announced_max_;
  return may_begin ? &announced_ : nullptr;
}

void ReadPool::RunOne(Queue* queue, std::unique_lock<std::mutex>* lock) {
  const std::shared_ptr<Batch> batch = queue->front();
  const bool is_announced = queue == &announced_;
  const size_t i = batch->next++;
  if (batch->next == batch->count) queue->pop_front();
  if (is_announced) {
    --announced_count_;
    ++announced_running_;
  }
  lock->unlock();
  batch->task(i);
  lock->lock();
  if (is_announced) {
    --announced_running_;
    // This thread may go on with what somebody waits for.
    if (!announced_.empty()) added_.notify_one();
  }
  if (++batch->ended == batch->count) ended_.notify_all();
}

void ReadPool::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    added_.wait(lock, [this] { return stopped_ || NextQueue() != nullptr; });
    if (stopped_) return;
    RunOne(NextQueue(), &lock);
  }
}

ReadPool::Pending ReadPool::Start(size_t count, Task task) {
  if (count == 0) return {};
  const auto batch = std::make_shared<Batch>();
  batch->count = count;
  batch->task = std::move(task);
  const std::lock_guard lock(mutex_);
  awaited_.push_back(batch);
  WakeUpTo(count);
  return {this, batch};
}

void ReadPool::Pending::Wait() {
  if (batch_ != nullptr) pool_->Wait(std::exchange(batch_, nullptr));
}

void ReadPool::Wait(const std::shared_ptr<Batch>& batch) {
  std::unique_lock lock(mutex_);
  // Others' calls may stand before it: whoever waits for them is helped.
  while (batch->next < batch->count) RunOne(&awaited_, &lock);
  ended_.wait(lock, [&] { return batch->ended == batch->count; });
}

void ReadPool::RunAll(size_t count, const Task& task) {
  if (count == 1) return task(0);
  Start(count, task).Wait();
}

void ReadPool::Announce(size_t count, Task task, const Purpose& purpose) {
  const std::lock_guard lock(mutex_);
  if (count == 0 || announced_count_ + count > kAnnouncedMax) return;
  const auto batch = std::make_shared<Batch>();
  batch->count = count;
  batch->task = std::move(task);
  batch->purpose = purpose;
  announced_.push_back(batch);
  announced_count_ += count;
  WakeUpTo(std::min(count, announced_max_));
}

void ReadPool::DropAnnounced(const Purpose& purpose) {
  const std::lock_guard lock(mutex_);
  std::erase_if(announced_, [&](const std::shared_ptr<Batch>& batch) {
    if (batch->purpose != purpose) return false;
    announced_count_ -= batch->count - batch->next;
    return true;
  });
}

size_t ReadPool::announced_count() const {
  const std::lock_guard lock(mutex_);
  return announced_count_;
}

}  // namespace alaya
