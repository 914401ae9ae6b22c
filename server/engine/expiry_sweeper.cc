#include "server/engine/expiry_sweeper.h"

#include <pthread.h>

namespace alaya {

ExpirySweeper::ExpirySweeper(ContextStore* store, const Clock* clock,
                             std::chrono::milliseconds interval)
    : store_(store), clock_(clock), interval_(interval), thread_([this] { Run(); }) {}

ExpirySweeper::~ExpirySweeper() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void ExpirySweeper::Run() {
  pthread_setname_np(pthread_self(), "expiry");
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, interval_, [this] { return stopping_; })) {
    lock.unlock();
    if (const auto deleted = store_->DeleteExpired(clock_->now()); deleted.ok()) {
      expired_count_.fetch_add(*deleted, std::memory_order_relaxed);
    } else {
      failure_count_.fetch_add(1, std::memory_order_relaxed);
    }
    lock.lock();
  }
}

}  // namespace alaya
