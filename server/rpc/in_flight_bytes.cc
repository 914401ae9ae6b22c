#include "server/rpc/in_flight_bytes.h"

#include <string>

namespace alaya {

StatusOr<InFlightBytes::Charge> InFlightBytes::TryCharge(uint64_t bytes) {
  const uint64_t before = used_.fetch_add(bytes, std::memory_order_relaxed);
  Charge charge(this, bytes);
  if (before <= limit_ && bytes <= limit_ - before) return charge;
  return ResourceExhausted("a message of " + std::to_string(bytes) + " bytes with " +
                           std::to_string(before) + " bytes under way: max_bytes_in_flight is " +
                           std::to_string(limit_));
}

InFlightBytes::Charge InFlightBytes::ChargeAnyway(uint64_t bytes) {
  used_.fetch_add(bytes, std::memory_order_relaxed);
  return {this, bytes};
}

}  // namespace alaya
