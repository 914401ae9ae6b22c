// Who is told about calls: main connects it to metrics and logs.

#ifndef ALAYA_SERVER_RPC_RPC_OBSERVER_H_
#define ALAYA_SERVER_RPC_RPC_OBSERVER_H_

#include <chrono>
#include <string_view>

#include "server/engine/attend_types.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any; called on the hot path, so implementations must not block.
class RpcObserver {
 public:
  virtual ~RpcObserver() = default;

  // A call; `method` is its short name ("GetContext"). A whole Attend stream is one
  // call with the name "AttendStream".
  virtual void CallStarted(std::string_view method) = 0;
  virtual void CallFinished(std::string_view method, const Status& status,
                            std::chrono::nanoseconds duration) = 0;

  // One item of an Attend stream, from its arrival to its result.
  virtual void AttendItemFinished(const AttendResult& result,
                                  std::chrono::nanoseconds duration) = 0;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_RPC_OBSERVER_H_
