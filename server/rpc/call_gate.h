// Counts the calls that are in progress and closes for a drain.

#ifndef ALAYA_SERVER_RPC_CALL_GATE_H_
#define ALAYA_SERVER_RPC_CALL_GATE_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "storage/types/status.h"

namespace alaya {

// Threads: any.
class CallGate {
 public:
  // Every OK needs one Leave. Errors: Unavailable once closed.
  Status Enter();
  void Leave();

  void Close();
  bool closed() const;
  // True if no call is in progress any more, false if that took until `deadline`.
  bool WaitUntilEmpty(std::chrono::steady_clock::time_point deadline);

 private:
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  uint64_t call_count_ = 0;
  bool closed_ = false;
};

// The answer to calls that come while the server drains.
Status DrainingError();

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CALL_GATE_H_
