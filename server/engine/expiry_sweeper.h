// The thread that deletes contexts whose time to live is over, ends sessions that nobody uses, and
// has the store look at the memory that it takes.

#ifndef ALAYA_SERVER_ENGINE_EXPIRY_SWEEPER_H_
#define ALAYA_SERVER_ENGINE_EXPIRY_SWEEPER_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "server/engine/engine.h"
#include "server/engine/session_table.h"
#include "storage/context/context_store.h"

namespace alaya {

class ExpirySweeper {
 public:
  // All pointers must outlive the sweeper. Sessions end after `session_idle_timeout`; 0: never.
  ExpirySweeper(ContextStore* store, SessionTable* sessions, const Clock* clock,
                std::chrono::milliseconds interval, std::chrono::milliseconds session_idle_timeout);
  ~ExpirySweeper();
  ExpirySweeper(const ExpirySweeper&) = delete;
  ExpirySweeper& operator=(const ExpirySweeper&) = delete;

  uint64_t expired_count() const { return expired_count_.load(std::memory_order_relaxed); }
  // Sweeps that the store refused; the next one tries again.
  uint64_t failure_count() const { return failure_count_.load(std::memory_order_relaxed); }
  uint64_t expired_session_count() const {
    return expired_session_count_.load(std::memory_order_relaxed);
  }

 private:
  void Run();
  void Sweep();

  ContextStore* store_;
  SessionTable* sessions_;
  const Clock* clock_;
  const std::chrono::milliseconds interval_;
  const std::chrono::milliseconds session_idle_timeout_;
  std::atomic<uint64_t> expired_count_{0};
  std::atomic<uint64_t> failure_count_{0};
  std::atomic<uint64_t> expired_session_count_{0};

  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // last: uses all of the above
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_EXPIRY_SWEEPER_H_
