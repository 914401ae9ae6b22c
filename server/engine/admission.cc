#include "server/engine/admission.h"

namespace alaya {

StatusOr<Admission::Ticket> Admission::Enter() {
  const std::scoped_lock lock(mutex_);
  if (closed_) return Unavailable("the server is shutting down");
  ++inside_count_;
  return Ticket(this);
}

void Admission::Close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
}

void Admission::WaitUntilEmpty() {
  std::unique_lock lock(mutex_);
  empty_.wait(lock, [this] { return inside_count_ == 0; });
}

void Admission::Leave() {
  // Notifies with the lock held: the waiter may destroy this right after.
  const std::scoped_lock lock(mutex_);
  if (--inside_count_ == 0) empty_.notify_all();
}

}  // namespace alaya
