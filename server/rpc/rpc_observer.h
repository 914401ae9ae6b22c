// Who is told about calls: main connects it to metrics and logs.

#ifndef ALAYA_SERVER_RPC_RPC_OBSERVER_H_
#define ALAYA_SERVER_RPC_RPC_OBSERVER_H_

#include <chrono>
#include <string_view>
#include <vector>

#include "server/engine/attend_types.h"
#include "storage/types/status.h"

namespace alaya {

// One call, or one item of an Attend stream.
struct CallInfo {
  std::string_view method;       // short: "GetContext"; a whole Attend stream is "AttendStream"
  std::string_view traceparent;  // of the caller; empty: none
};

// Threads: any; called on the hot path, so implementations must not block.
class RpcObserver {
 public:
  virtual ~RpcObserver() = default;

  virtual void CallStarted(const CallInfo& call) = 0;
  virtual void CallFinished(const CallInfo& call, const Status& status,
                            std::chrono::nanoseconds duration) = 0;

  // From the item's arrival to its result. The method is "Attend".
  virtual void AttendItemFinished(const CallInfo& item, const AttendResult& result,
                                  std::chrono::nanoseconds duration) = 0;

  // What it saw of attention items, for GetStats.
  virtual std::vector<AttendStageTimes> attend_stages() const { return {}; }
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_RPC_OBSERVER_H_
