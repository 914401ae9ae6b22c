// A pipelined stream of attention requests: the hot path of an inference engine.
//
// Life: Client::Attend -> Send, from any thread, many at a time -> Close, or
// destruction, which cancels what is still unanswered. Every request is answered
// exactly once: by the server, or with the error that ended the stream.

#ifndef ALAYA_CLIENT_ATTEND_STREAM_H_
#define ALAYA_CLIENT_ATTEND_STREAM_H_

#include <grpcpp/channel.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>

#include "alaya/v1/session_service.pb.h"
#include "client/credentials.h"
#include "storage/types/status.h"

namespace alaya::client {

namespace pb = ::alaya::v1;

struct AttendStreamOptions {
  // Requests sent and not yet answered; further ones wait here. Keep it within the
  // server's max_requests_in_flight_per_stream.
  size_t requests_in_flight_max = 32;
  // Deadline of the stream as a whole, which the server honours too; 0: none.
  std::chrono::milliseconds stream_timeout{0};
};

// Answers of different sessions may overtake each other, those of one session never do.
//
// Threads: any number at a time, except for moving and destruction.
class AttendStream {
 public:
  // Runs on a gRPC thread, one at a time: it must neither block nor destroy or Close
  // the stream. It may Send.
  using Callback = std::function<void(StatusOr<pb::AttendResponse>)>;

  // Opens the call. Client::Attend calls it.
  AttendStream(const std::shared_ptr<grpc::Channel>& channel, const Authorization& authorization,
               AttendStreamOptions options);
  // Cancels what is unanswered and waits until its callbacks have run.
  ~AttendStream();
  AttendStream(AttendStream&&) noexcept;
  AttendStream& operator=(AttendStream&&) noexcept;

  // Queues a request and returns at once. Any request_id will do: the stream sends
  // one of its own, and the answer carries the caller's.
  //
  // Errors, all through the answer: the stream's own, with the server's message;
  //   FailedPrecondition after Close. An item that fails alone does so in its result.
  void Send(pb::AttendRequest request, Callback callback);
  std::future<StatusOr<pb::AttendResponse>> Send(pb::AttendRequest request);

  // Sends one item and waits for its answer, at most `timeout` (0: for ever); an error
  // of the item is an error here.
  //
  // Errors: DeadlineExceeded too; the item may still run, its answer is dropped.
  StatusOr<pb::AttendResult> AttendOne(pb::AttendItem item, std::chrono::milliseconds timeout = {});

  // Takes no more requests, waits for the answers of those sent before, and says how
  // the stream ended. Later calls repeat it.
  Status Close();

  // Requests without an answer.
  size_t pending_count() const;

 private:
  class Reactor;
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_ATTEND_STREAM_H_
