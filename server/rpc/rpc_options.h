// Options of the gRPC server, and the limits that requests are checked against.

#ifndef ALAYA_SERVER_RPC_RPC_OPTIONS_H_
#define ALAYA_SERVER_RPC_RPC_OPTIONS_H_

#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/rpc/connection_acceptor.h"

namespace alaya {

struct RpcOptions {
  // host:port (port 0: any free one) or unix:path.
  std::vector<std::string> listen_addresses{"127.0.0.1:50600"};
  // Like those, for health checks only: plain text and without keys. Empty: none.
  std::string health_listen_address;
  bool serves_reflection = true;
  // Whether calls through unix sockets need a key where others do.
  bool unix_needs_key = true;
  mode_t unix_socket_mode = S_IRUSR | S_IWUSR;  // of the socket files
  AcceptorOptions acceptor;
  uint64_t max_message_bytes = uint64_t{64} << 20;  // of a received message
  uint32_t max_items_per_request = 1024;
  // A stream with this many unanswered requests is not read from.
  uint32_t max_requests_in_flight_per_stream = 64;
  uint32_t max_streams_per_connection = 1024;
  // Threads for calls that may block on disk; Attend needs none of them.
  uint32_t blocking_worker_count = 8;
  // Calls that wait for such a thread; more are refused.
  uint32_t max_waiting_calls = 4096;
  // A connection without traffic is pinged this often, and closed without an answer.
  std::chrono::milliseconds keepalive_interval{60'000};
  // Who has not said what HTTP/2 begins with by then is disconnected.
  std::chrono::milliseconds handshake_timeout{10'000};
  // Older connections are asked to go, which moves clients between servers, and are closed
  // after the grace; 0: they may stay.
  std::chrono::milliseconds max_connection_age{0};
  std::chrono::milliseconds max_connection_age_grace{60'000};
};

// What one request may ask for.
struct RequestLimits {
  EngineLimits engine;
  uint32_t max_items_per_request = 1024;
  uint32_t max_waiting_calls = 4096;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_RPC_OPTIONS_H_
