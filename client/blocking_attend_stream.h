// A stream of attention requests, one at a time, for the lowest latency.
//
// The calling thread itself waits at the connection for its answer, so no second
// thread of the client must wake up, as for the callbacks of AttendStream: on a small
// machine that is a third of the way there and back. A decoder, which needs each
// layer's answer before it can ask for the next, loses nothing by it.

#ifndef ALAYA_CLIENT_BLOCKING_ATTEND_STREAM_H_
#define ALAYA_CLIENT_BLOCKING_ATTEND_STREAM_H_

#include <grpcpp/channel.h>

#include <memory>

#include "alaya/v1/session_service.pb.h"
#include "client/credentials.h"
#include "storage/types/status.h"

namespace alaya::client {

namespace pb = ::alaya::v1;

// Life: Client::AttendBlocking -> Exchange or AttendOne -> Close, or destruction,
// which cancels the call.
//
// Not thread-safe: one stream a thread.
class BlockingAttendStream {
 public:
  // Opens the call. Client::AttendBlocking calls it.
  BlockingAttendStream(const std::shared_ptr<grpc::Channel>& channel,
                       const Authorization& authorization);
  ~BlockingAttendStream();
  BlockingAttendStream(BlockingAttendStream&&) noexcept;
  BlockingAttendStream& operator=(BlockingAttendStream&&) noexcept;

  // Sends a request and waits for its answer.
  //
  // Errors: the stream's own, which every later call repeats; FailedPrecondition
  //   after Close. An item that fails alone does so in its result.
  StatusOr<pb::AttendResponse> Exchange(const pb::AttendRequest& request);

  // The same for one item; an error of the item is an error here.
  StatusOr<pb::AttendResult> AttendOne(pb::AttendItem item);

  // Ends the stream and says how it ended. Later calls repeat it.
  Status Close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_BLOCKING_ATTEND_STREAM_H_
