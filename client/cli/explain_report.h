// What `alayactl explain` shows: how one attention was answered, and why so.

#ifndef ALAYA_CLIENT_CLI_EXPLAIN_REPORT_H_
#define ALAYA_CLIENT_CLI_EXPLAIN_REPORT_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "client/client.h"

namespace alaya::client {

struct ExplainedAttention {
  pb::Session session{};
  uint32_t layer = 0;
  pb::AttendResult result{};  // asked with explain
  std::chrono::nanoseconds round_trip{0};
};

// The plan of each segment with what lost against it, where the time went, and each
// query head's tokens and covered mass (of several queries, the last one's).
std::string ExplainText(const ExplainedAttention& attention);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_EXPLAIN_REPORT_H_
