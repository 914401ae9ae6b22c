// Clients that a server must survive: slow, silent, broken, gone, or too many.
//
// Each is bounded: by count, and to about half a second.

#ifndef ALAYA_TESTS_FAULT_HOSTILE_CLIENTS_H_
#define ALAYA_TESTS_FAULT_HOSTILE_CLIENTS_H_

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/fault/raw_connection.h"

namespace alaya {

struct HostileTarget {
  std::string address;     // "127.0.0.1:PORT"
  std::string context_id;  // of a stored context that nobody deletes
};

struct HostileClient {
  const char* name;
  void (*run)(const HostileTarget& target, uint64_t seed);
};
std::span<const HostileClient> HostileClients();

// Connections that hold `count` Attend streams which never say anything, `per_connection`
// each; they end with the connections.
std::vector<RawConnection> OpenIdleStreams(const std::string& address, size_t count,
                                           size_t per_connection);

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_HOSTILE_CLIENTS_H_
