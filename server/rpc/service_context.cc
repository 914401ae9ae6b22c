#include "server/rpc/service_context.h"

namespace alaya {

Deadline DeadlineOf(const grpc::CallbackServerContext& call) {
  const auto deadline = call.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return Deadline::max();
  const auto remaining = deadline - std::chrono::system_clock::now();
  const auto now = std::chrono::steady_clock::now();
  // Years away is as good as none, and the sum would overflow.
  if (remaining > std::chrono::hours(24 * 365)) return Deadline::max();
  return now + std::chrono::duration_cast<Deadline::duration>(remaining);
}

Status CallRecord::Start() {
  service_.observer->CallStarted(info());
  Status status = service_.gate->Enter();
  admitted_ = status.ok();
  return status;
}

void CallRecord::Finish(const Status& status) {
  service_.observer->CallFinished(info(), status, std::chrono::steady_clock::now() - start_);
  if (admitted_) service_.gate->Leave();
}

}  // namespace alaya
