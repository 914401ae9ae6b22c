// A queue whose tasks run one at a time, in the order they came.
//
// Every session has one: whatever touches a session runs on its strand, so that the
// session needs no lock and its items are answered in the order they were sent.

#ifndef ALAYA_SERVER_ENGINE_STRAND_H_
#define ALAYA_SERVER_ENGINE_STRAND_H_

#include <functional>
#include <memory>

#include "server/engine/worker_pool.h"

namespace alaya {

class Strand {
 public:
  // `pool` must outlive every task; they run in its lane `lane`.
  explicit Strand(WorkerPool* pool, WorkerPool::Lane lane = FairQueue::kCommonLane);

  // Runs the task on a thread of the pool. Never blocks.
  void Post(std::function<void()> task);

  // Runs the task and returns when it has run: on the calling thread if nothing is
  // ahead of it, which saves two thread switches.
  //
  // Requires: not called from a task of a strand (it could wait for itself).
  void Run(const std::function<void()>& task);

 private:
  struct State;
  // Shared with the pool's task that empties the queue.
  std::shared_ptr<State> state_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_STRAND_H_
