#include "server/rpc/call_gate.h"

#include "storage/types/check.h"

namespace alaya {

Status DrainingError() { return Unavailable("the server is draining, it admits no new work"); }

Status CallGate::Enter() {
  const std::lock_guard lock(mutex_);
  if (closed_) return DrainingError();
  ++call_count_;
  return OkStatus();
}

void CallGate::Leave() {
  const std::lock_guard lock(mutex_);
  ALAYA_CHECK(call_count_ > 0);
  if (--call_count_ == 0) empty_.notify_all();
}

void CallGate::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool CallGate::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

bool CallGate::WaitUntilEmpty(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return empty_.wait_until(lock, deadline, [this] { return call_count_ == 0; });
}

}  // namespace alaya
