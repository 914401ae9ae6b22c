// The memory of requests and answers that are under way, and its limit.
//
// What clients send and wait for is the one memory that they alone decide on: every
// message is charged from the moment it was read until its answer was written.

#ifndef ALAYA_SERVER_RPC_IN_FLIGHT_BYTES_H_
#define ALAYA_SERVER_RPC_IN_FLIGHT_BYTES_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "storage/types/status.h"

namespace alaya {

// Threads: any.
class InFlightBytes {
 public:
  // Bytes that are given back when it goes; move-only.
  class Charge {
   public:
    Charge() = default;
    Charge(Charge&& other) noexcept { *this = std::move(other); }
    Charge& operator=(Charge&& other) noexcept {
      std::swap(owner_, other.owner_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    Charge(const Charge&) = delete;
    Charge& operator=(const Charge&) = delete;
    ~Charge() { Release(); }

    void Release() {
      if (owner_ != nullptr) owner_->used_.fetch_sub(bytes_, std::memory_order_relaxed);
      owner_ = nullptr;
    }

   private:
    friend class InFlightBytes;
    Charge(InFlightBytes* owner, uint64_t bytes) : owner_(owner), bytes_(bytes) {}

    InFlightBytes* owner_ = nullptr;
    uint64_t bytes_ = 0;
  };

  explicit InFlightBytes(uint64_t limit_bytes) : limit_(limit_bytes) {}

  // Errors: ResourceExhausted beyond the limit.
  StatusOr<Charge> TryCharge(uint64_t bytes);
  // For what is there already and bounded by other means.
  Charge ChargeAnyway(uint64_t bytes);

  uint64_t used_bytes() const { return used_.load(std::memory_order_relaxed); }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_IN_FLIGHT_BYTES_H_
