// One Attend call: a bidirectional stream of pipelined requests.
//
// A request goes to the engine the moment it is read, on gRPC's own thread (the
// engine only queues it), and is written by the engine's thread that finished its
// last item: no other thread is involved. The engine keeps the items of one session
// in order; this class keeps the *answers* of one session in order, because an answer
// also waits for its other items: an answer is blocked by each earlier unanswered
// request with which it shares a session.
//
// Life of a request: read -> submitted -> all items finished -> (blockers gone)
// queued -> written -> its memory is reused. At most
// max_requests_in_flight_per_stream are between read and written; at that number
// the stream is not read and gRPC's flow control holds the client back.
//
// The stream finishes when nothing is in flight and the client half-closed (OK),
// cancelled, or the server drains (UNAVAILABLE).

#ifndef ALAYA_SERVER_RPC_ATTEND_STREAM_H_
#define ALAYA_SERVER_RPC_ATTEND_STREAM_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "alaya/v1/session_service.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/service_context.h"

namespace alaya {

class AttendStream;

// The streams that are open, so that a drain can end those that idle.
class AttendStreams {
 public:
  void Add(const std::shared_ptr<AttendStream>& stream);
  // Ends every stream once what it has read is answered.
  void Drain();

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<AttendStream>> streams_;
};

class AttendStream final : public grpc::ServerBidiReactor<v1::AttendRequest, v1::AttendResponse>,
                           public std::enable_shared_from_this<AttendStream> {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::AttendRequest, v1::AttendResponse>;

  // The reactor for a new call; it owns itself. `service`, `streams` and `call` outlive it.
  static Reactor* Start(const ServiceContext& service, AttendStreams* streams,
                        uint32_t in_flight_count_max, grpc::CallbackServerContext* call);

  // Admits no further request and finishes when nothing is in flight.
  void Drain();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // A request, its answer, and who waits for it.
  struct Exchange {
    explicit Exchange(AttendStream* owner) : stream(owner) {}

    AttendStream* const stream;
    v1::AttendRequest request;
    v1::AttendResponse response;
    TenantAccount::Share bytes;  // of both, until the answer was written
    std::chrono::steady_clock::time_point arrival;
    std::atomic<size_t> unfinished_count{0};  // items, and one for the submission itself
    // Under the stream's mutex:
    bool finished = false;
    size_t blocker_count = 0;
    std::vector<Exchange*> blocked;
  };

  AttendStream(const ServiceContext& service, uint32_t in_flight_count_max,
               grpc::CallbackServerContext* call);

  // Hands the items to the engine.
  void Submit(Exchange* exchange);
  // Errors: ResourceExhausted beyond a quota.
  Status Charge(Exchange* exchange);
  void FinishItem(Exchange* exchange, int index, AttendResult result);
  // One item, or the submission, is done; the last one makes the answer ready.
  void CountDown(Exchange* exchange);

  // With mutex_ held:
  void Register(Exchange* exchange);
  void QueueAnswer(Exchange* exchange);
  void StartNextRead();
  void StartNextWrite();
  void Recycle(Exchange* exchange);
  void FinishIfIdle();

  const ServiceContext& service_;
  const Deadline deadline_;
  const uint32_t in_flight_count_max_;
  CallRecord record_;
  bool counts_requests_ = false;  // only for Submit, which never runs twice at a time
  // From Start to OnDone. Members that may finish the stream hold one more, so that
  // the mutex outlives their lock.
  std::shared_ptr<AttendStream> self_;
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;  // all; owns them
  std::vector<Exchange*> spare_;
  std::deque<Exchange*> answers_;  // ready to write, the first one being written
  Exchange* reading_ = nullptr;
  size_t in_flight_count_ = 0;  // read and not yet written
  // The last unanswered request of each session; names view that request.
  std::unordered_map<std::string_view, Exchange*> last_of_session_;
  // The next request must reach the engine after this one: no read meanwhile.
  bool submitting_ = false;
  bool writing_ = false;
  bool half_closed_ = false;  // no more requests will come
  bool write_failed_ = false;
  bool draining_ = false;
  Status refusal_;  // why the call was not admitted; OK: it was
  bool finished_ = false;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_ATTEND_STREAM_H_
