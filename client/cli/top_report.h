// What `alayactl top` shows: one look at the server, and what happened since the last.

#ifndef ALAYA_CLIENT_CLI_TOP_REPORT_H_
#define ALAYA_CLIENT_CLI_TOP_REPORT_H_

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"

namespace alaya::client {

struct TopSample {
  std::chrono::steady_clock::time_point time;
  std::chrono::nanoseconds round_trip{0};  // of the call that brought the statistics
  pb::GetStatsResponse stats;
  std::vector<pb::Session> sessions;
};

// Rates are per second since `before`; without it, and where a counter fell because the
// server restarted, they are "-". Times of attention items are those since `before`, or since
// the server's start. Of the sessions those used last, at most `session_count_max`.
std::string TopText(const TopSample& now, const std::optional<TopSample>& before,
                    size_t session_count_max);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_TOP_REPORT_H_
