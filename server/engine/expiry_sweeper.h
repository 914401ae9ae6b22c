// The thread that deletes contexts whose time to live is over.

#ifndef ALAYA_SERVER_ENGINE_EXPIRY_SWEEPER_H_
#define ALAYA_SERVER_ENGINE_EXPIRY_SWEEPER_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "server/engine/engine.h"
#include "storage/context/context_store.h"

namespace alaya {

class ExpirySweeper {
 public:
  // Both must outlive the sweeper.
  ExpirySweeper(ContextStore* store, const Clock* clock, std::chrono::milliseconds interval);
  ~ExpirySweeper();
  ExpirySweeper(const ExpirySweeper&) = delete;
  ExpirySweeper& operator=(const ExpirySweeper&) = delete;

  uint64_t expired_count() const { return expired_count_.load(std::memory_order_relaxed); }
  // Sweeps that the store refused; the next one tries again.
  uint64_t failure_count() const { return failure_count_.load(std::memory_order_relaxed); }

 private:
  void Run();

  ContextStore* store_;
  const Clock* clock_;
  const std::chrono::milliseconds interval_;
  std::atomic<uint64_t> expired_count_{0};
  std::atomic<uint64_t> failure_count_{0};

  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // last: uses all of the above
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_EXPIRY_SWEEPER_H_
