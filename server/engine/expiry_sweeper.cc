#include "server/engine/expiry_sweeper.h"

#include <pthread.h>

namespace alaya {

ExpirySweeper::ExpirySweeper(ContextStore* store, SessionTable* sessions, const Clock* clock,
                             std::chrono::milliseconds interval,
                             std::chrono::milliseconds session_idle_timeout)
    : store_(store),
      sessions_(sessions),
      clock_(clock),
      interval_(interval),
      session_idle_timeout_(session_idle_timeout),
      thread_([this] { Run(); }) {}

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
    Sweep();
    lock.lock();
  }
}

void ExpirySweeper::Sweep() {
  if (const auto deleted = store_->DeleteExpired(clock_->now()); deleted.ok()) {
    expired_count_.fetch_add(*deleted, std::memory_order_relaxed);
  } else {
    failure_count_.fetch_add(1, std::memory_order_relaxed);
  }
  store_->FitMemory();
  if (session_idle_timeout_.count() == 0) return;
  for (const auto& session : sessions_->RemoveUnused(session_idle_timeout_)) {
    session->strand().Run([&] { session->Close(); });
    expired_session_count_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace alaya
