// What tenants may take of the server, each of them and all together.

#ifndef ALAYA_SERVER_ENGINE_TENANT_LIMITS_H_
#define ALAYA_SERVER_ENGINE_TENANT_LIMITS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace alaya {

// 0: no limit of the tenant's own; those of the whole server hold besides.
struct TenantLimits {
  uint64_t max_stored_bytes = 0;  // keys, values and indexes of its contexts
  uint64_t max_memory_bytes = 0;  // of the memory tier: its pages make room for each other
  uint64_t max_tail_bytes = 0;    // memory of its sessions' new tokens
  uint64_t max_sessions = 0;      // open ones
  uint64_t max_streams = 0;       // calls that run, of all kinds
  // Attention items that wait or run.
  uint64_t max_attend_items_in_flight = 0;
  // Messages not yet answered and answers not yet written.
  uint64_t max_bytes_in_flight = 0;
  uint64_t max_requests_per_second = 0;  // calls and Attend requests; bursts of a second pass

  friend bool operator==(const TenantLimits&, const TenantLimits&) = default;
};

// The limits of all tenants.
struct TenantLimitsTable {
  // Of all together. Sessions, tails, memory and what is stored have limits elsewhere.
  TenantLimits all = {.max_streams = 65'536,
                      .max_attend_items_in_flight = 16'384,
                      .max_bytes_in_flight = uint64_t{1} << 30};
  // Of those that are not named. One alone does not fill the queue for attention.
  TenantLimits others = {.max_attend_items_in_flight = 8'192};
  std::map<std::string, TenantLimits, std::less<>> named = {};

  const TenantLimits& Of(std::string_view tenant) const {
    const auto found = named.find(tenant);
    return found == named.end() ? others : found->second;
  }
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TENANT_LIMITS_H_
