// The door of the engine: counts the calls inside and closes for a drain.

#ifndef ALAYA_SERVER_ENGINE_ADMISSION_H_
#define ALAYA_SERVER_ENGINE_ADMISSION_H_

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

#include "storage/types/status.h"

namespace alaya {

class Admission {
 public:
  // One admitted call; move-only.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept { *this = std::move(other); }
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(admission_, other.admission_);
      return *this;
    }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket() {
      if (admission_ != nullptr) admission_->Leave();
    }

   private:
    friend class Admission;
    explicit Ticket(Admission* admission) : admission_(admission) {}
    Admission* admission_ = nullptr;
  };

  // Errors: Unavailable once Close was called.
  StatusOr<Ticket> Enter();

  // Admits nobody from now on.
  void Close();
  // Waits until all tickets are gone.
  void WaitUntilEmpty();

 private:
  void Leave();

  std::mutex mutex_;
  std::condition_variable empty_;
  size_t inside_count_ = 0;
  bool closed_ = false;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ADMISSION_H_
