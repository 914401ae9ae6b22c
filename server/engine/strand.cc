#include "server/engine/strand.h"

#include <cstddef>
#include <deque>
#include <latch>
#include <mutex>
#include <utility>

namespace alaya {
namespace {

// A strand gives its thread back after so many tasks, so that one busy session
// cannot keep the others waiting.
constexpr size_t kTasksPerTurn = 8;

}  // namespace

struct Strand::State : std::enable_shared_from_this<Strand::State> {
  State(WorkerPool* worker_pool, WorkerPool::Lane lane_of_tasks)
      : pool(worker_pool), lane(lane_of_tasks) {}

  WorkerPool* const pool;
  const WorkerPool::Lane lane;
  std::mutex mutex;
  std::deque<std::function<void()>> queue;
  bool running = false;  // somebody runs tasks, or is on the way

  void PostTurn() {
    pool->Post([self = shared_from_this()] { self->TakeTurn(); }, lane);
  }

  void TakeTurn() {
    for (size_t i = 0; i < kTasksPerTurn; ++i) {
      std::function<void()> task;
      {
        const std::scoped_lock lock(mutex);
        if (queue.empty()) {
          running = false;
          return;
        }
        task = std::move(queue.front());
        queue.pop_front();
      }
      task();
      // Another tenant's task waits at most for the one that runs.
      if (pool->OthersWait(lane)) break;
    }
    PostTurn();
  }
};

Strand::Strand(WorkerPool* pool, WorkerPool::Lane lane)
    : state_(std::make_shared<State>(pool, lane)) {}

void Strand::Post(std::function<void()> task) {
  {
    const std::scoped_lock lock(state_->mutex);
    state_->queue.push_back(std::move(task));
    if (std::exchange(state_->running, true)) return;
  }
  state_->PostTurn();
}

void Strand::Run(const std::function<void()>& task) {
  std::unique_lock lock(state_->mutex);
  if (state_->running) {
    const auto finished = std::make_shared<std::latch>(1);
    state_->queue.emplace_back([&task, finished] {
      task();
      finished->count_down();
    });
    lock.unlock();
    finished->wait();
    return;
  }
  state_->running = true;
  lock.unlock();
  task();
  lock.lock();
  if (state_->queue.empty()) {
    state_->running = false;
    return;
  }
  lock.unlock();
  state_->PostTurn();
}

}  // namespace alaya
