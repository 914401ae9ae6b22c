#include "server/engine/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace alaya {
namespace {

// A ParallelFor that runs. Helpers that start after its end find no index left and
// never touch the body, so the loop may outlive the call but the body need not.
struct Loop {
  const std::function<void(size_t)>* body = nullptr;
  size_t count = 0;
  std::atomic<size_t> next{0};
  std::atomic<uint32_t> unfinished{0};  // 32 bits: the kernel waits on such a word directly

  void Work() {
    uint32_t finished_count = 0;
    for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      (*body)(i);
      ++finished_count;
    }
    if (finished_count == 0) return;
    if (unfinished.fetch_sub(finished_count) == finished_count) unfinished.notify_all();
  }

  void WaitUntilFinished() const {
    for (uint32_t left = unfinished.load(); left != 0; left = unfinished.load()) {
      unfinished.wait(left);
    }
  }
};

// Whose task this thread runs, and for which pool.
struct LaneOfThread {
  const void* pool = nullptr;
  FairQueue::Lane lane = FairQueue::kCommonLane;
};
thread_local LaneOfThread lane_of_thread;

}  // namespace

struct WorkerPool::Impl {
  mutable std::mutex mutex;
  std::condition_variable work_ready;
  FairQueue queue;
  size_t idle_count = 0;  // threads that wait for work
  bool stopping = false;

  std::vector<std::thread> threads;

  void RunThread(const std::string& name) {
    pthread_setname_np(pthread_self(), name.c_str());
    std::unique_lock lock(mutex);
    while (true) {
      if (queue.empty()) {
        if (stopping) return;
        ++idle_count;
        work_ready.wait(lock);
        --idle_count;
        continue;
      }
      FairQueue::Next next = queue.Pop();
      const bool wake_next = !queue.empty() && idle_count > 0;
      lock.unlock();
      // Whoever wakes up wakes the next one: a wake-up costs the waker microseconds,
      // which the thread that posts many tasks should not pay alone.
      if (wake_next) work_ready.notify_one();
      lane_of_thread = {this, next.lane};
      const auto start = std::chrono::steady_clock::now();
      next.task();
      next.task = nullptr;  // destroys what it holds without the lock
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      lock.lock();
      queue.Charge(next.lane, taken.count());
    }
  }

  void Post(size_t copies, const std::function<void()>& task, FairQueue::Lane lane) {
    bool wake = false;
    {
      const std::scoped_lock lock(mutex);
      for (size_t i = 0; i < copies; ++i) queue.Push(lane, task);
      wake = idle_count > 0;
    }
    if (wake) work_ready.notify_one();
  }
};

WorkerPool::WorkerPool(std::string name, size_t thread_count) : impl_(std::make_unique<Impl>()) {
  name.resize(std::min<size_t>(name.size(), 12));
  impl_->threads.reserve(thread_count);
  for (size_t i = 0; i < thread_count; ++i) {
    impl_->threads.emplace_back(
        [impl = impl_.get(), thread_name = name + std::to_string(i % 1000)] {
          impl->RunThread(thread_name);
        });
  }
}

WorkerPool::~WorkerPool() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->work_ready.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

WorkerPool::Lane WorkerPool::LaneOf(std::string_view name) {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->queue.LaneOf(name);
}

bool WorkerPool::OthersWait(Lane lane) const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->queue.OthersWait(lane);
}

void WorkerPool::Post(std::function<void()> task, Lane lane) {
  bool wake = false;
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->queue.Push(lane, std::move(task));
    wake = impl_->idle_count > 0;
  }
  if (wake) impl_->work_ready.notify_one();
}

void WorkerPool::ParallelFor(size_t count, const std::function<void(size_t)>& body) {
  if (count <= 1 || thread_count() == 0) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto loop = std::make_shared<Loop>();
  loop->body = &body;
  loop->count = count;
  loop->unfinished = static_cast<uint32_t>(count);
  const Lane lane =
      lane_of_thread.pool == impl_.get() ? lane_of_thread.lane : FairQueue::kCommonLane;
  impl_->Post(
      std::min(count - 1, thread_count()), [loop] { loop->Work(); }, lane);
  loop->Work();
  loop->WaitUntilFinished();
}

size_t WorkerPool::thread_count() const { return impl_->threads.size(); }

size_t WorkerPool::queue_length() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->queue.size();
}

}  // namespace alaya
