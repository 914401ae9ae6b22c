// A fixed set of threads that run tasks: those of one lane in the order given, and each
// lane its share of the time (fair_queue.h).

#ifndef ALAYA_SERVER_ENGINE_WORKER_POOL_H_
#define ALAYA_SERVER_ENGINE_WORKER_POOL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/engine/fair_queue.h"

namespace alaya {

class WorkerPool {
 public:
  // `name` shows up in thread listings; at most 12 characters are kept.
  WorkerPool(std::string name, size_t thread_count);
  // Runs what was posted, then joins.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  using Lane = FairQueue::Lane;

  // The lane of a tenant. Threads: any.
  Lane LaneOf(std::string_view name);

  // Never blocks. Tasks must not throw.
  void Post(std::function<void()> task, Lane lane = FairQueue::kCommonLane);

  // True if tasks of another lane wait for a thread: whoever has had some time should let
  // them have theirs.
  bool OthersWait(Lane lane) const;

  // Runs body(0) .. body(count - 1), on the pool's threads and the calling one, and
  // returns when all have returned. May be called from a task of the pool: the
  // caller works too, so it cannot deadlock. The others work in the task's lane.
  void ParallelFor(size_t count, const std::function<void(size_t)>& body);

  size_t thread_count() const;
  // Tasks posted and not yet started.
  size_t queue_length() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_WORKER_POOL_H_
