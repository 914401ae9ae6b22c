#include "client/attend_stream.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "alaya/v1/session_service.grpc.pb.h"
#include "client/rpc_status.h"

namespace alaya::client {

// One gRPC call. A read is always outstanding until the stream ends; at most one write
// is. gRPC wants operations that start outside its reactions to be covered by a hold:
// the constructor takes one for the life of the stream, and every Send and Close takes
// another while it starts its own operation, since the stream may end at that moment.
class AttendStream::Reactor
    : public grpc::ClientBidiReactor<pb::AttendRequest, pb::AttendResponse> {
 public:
  Reactor(const std::shared_ptr<grpc::Channel>& channel, const Authorization& authorization,
          const AttendStreamOptions& options)
      : requests_in_flight_max_(std::max<size_t>(options.requests_in_flight_max, 1)) {
    authorization.AddTo(context_);
    if (options.stream_timeout.count() > 0) {
      context_.set_deadline(std::chrono::system_clock::now() + options.stream_timeout);
    }
    pb::SessionService::NewStub(channel)->async()->Attend(&context_, this);
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  ~Reactor() override {
    context_.TryCancel();
    (void)WaitUntilDone();
  }

  void Send(pb::AttendRequest request, Callback callback) {
    std::unique_lock lock(mutex_);
    if (Status refused = Refusal(); !refused.ok()) {
      lock.unlock();
      callback(std::move(refused));
      return;
    }
    Enqueue(std::move(request), std::move(callback));
    if (stream_over_ || !TakeNextWrite()) return;
    AddHold();
    lock.unlock();
    StartWrite(&outgoing_);
    RemoveHold();
  }

  Status Close() {
    bool start_writes_done = false;
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
      start_writes_done = !stream_over_ && TakeWritesDone();
      if (start_writes_done) AddHold();
    }
    if (start_writes_done) {
      StartWritesDone();
      RemoveHold();
    }
    return WaitUntilDone();
  }

  size_t pending_count() const {
    const std::lock_guard lock(mutex_);
    return pending_.size();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        const std::lock_guard lock(mutex_);
        stream_over_ = true;  // from here on nothing starts outside reactions
      }
      RemoveHold();
      return;
    }
    Pending answered;
    bool known = false;
    bool start_write = false;
    {
      const std::lock_guard lock(mutex_);
      const auto found = pending_.find(incoming_.request_id());
      known = found != pending_.end();
      if (known) {
        answered = std::move(found->second);
        pending_.erase(found);
        start_write = TakeNextWrite();
      } else if (own_error_.ok()) {
        own_error_ = Internal("the server answered request_id " +
                              std::to_string(incoming_.request_id()) + ", which is not open");
      }
    }
    if (start_write) StartWrite(&outgoing_);
    if (known) {
      incoming_.set_request_id(answered.caller_request_id);
      answered.callback(std::move(incoming_));
    } else {
      context_.TryCancel();
    }
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    bool start_write = false;
    bool start_writes_done = false;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) return;  // the stream is broken: OnDone answers everybody
      start_write = TakeNextWrite();
      start_writes_done = !start_write && TakeWritesDone();
    }
    if (start_write) StartWrite(&outgoing_);
    if (start_writes_done) StartWritesDone();
  }

  void OnDone(const grpc::Status& status) override {
    std::vector<Callback> unanswered;
    Status reason;
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
      final_status_ = own_error_.ok() ? ToStatus(status) : own_error_;
      reason = final_status_.ok()
                   ? Unavailable("the server ended the attend stream without an answer")
                   : final_status_;
      for (auto& [request_id, pending] : pending_) {
        unanswered.push_back(std::move(pending.callback));
      }
      pending_.clear();
      queue_.clear();
    }
    for (const Callback& callback : unanswered) callback(reason);
    // Notifies under the lock: the waiter may destroy this object as soon as it is free.
    const std::lock_guard lock(mutex_);
    callbacks_done_ = true;
    done_changed_.notify_all();
  }

 private:
  struct Pending {
    uint64_t caller_request_id = 0;
    Callback callback;
  };

  Status WaitUntilDone() {
    std::unique_lock lock(mutex_);
    done_changed_.wait(lock, [this] { return callbacks_done_; });
    return final_status_;
  }

  // The following require mutex_.

  // Why no further request can be sent; OK if one can.
  Status Refusal() const {
    if (done_) {
      return final_status_.ok() ? Unavailable("the attend stream has ended") : final_status_;
    }
    return closing_ ? FailedPrecondition("the attend stream is closed") : OkStatus();
  }

  void Enqueue(pb::AttendRequest request, Callback callback) {
    const uint64_t id = next_request_id_++;
    // In order of ids, so that a broken stream answers in the order of the calls.
    pending_.emplace_hint(pending_.end(), id, Pending{request.request_id(), std::move(callback)});
    request.set_request_id(id);
    queue_.push_back(std::move(request));
  }

  // True if the caller must now StartWrite(&outgoing_).
  bool TakeNextWrite() {
    const size_t in_flight = pending_.size() - queue_.size();
    if (writing_ || queue_.empty() || in_flight >= requests_in_flight_max_) return false;
    writing_ = true;
    outgoing_ = std::move(queue_.front());
    queue_.pop_front();
    return true;
  }

  // True if the caller must now StartWritesDone().
  bool TakeWritesDone() {
    if (!closing_ || writing_ || writes_done_ || !queue_.empty()) return false;
    writes_done_ = true;
    return true;
  }

  const size_t requests_in_flight_max_;
  grpc::ClientContext context_;
  pb::AttendResponse incoming_;  // owned by the outstanding read
  pb::AttendRequest outgoing_;   // owned by the outstanding write

  mutable std::mutex mutex_;
  std::condition_variable done_changed_;
  uint64_t next_request_id_ = 1;
  std::map<uint64_t, Pending> pending_;  // written or queued, by the stream's own id
  std::deque<pb::AttendRequest> queue_;  // not yet written
  bool writing_ = false;
  bool closing_ = false;
  bool writes_done_ = false;
  bool stream_over_ = false;
  bool done_ = false;
  bool callbacks_done_ = false;
  Status own_error_;
  Status final_status_;
};

AttendStream::AttendStream(const std::shared_ptr<grpc::Channel>& channel,
                           const Authorization& authorization, AttendStreamOptions options)
    : reactor_(std::make_unique<Reactor>(channel, authorization, options)) {}
AttendStream::~AttendStream() = default;
AttendStream::AttendStream(AttendStream&&) noexcept = default;
AttendStream& AttendStream::operator=(AttendStream&&) noexcept = default;

void AttendStream::Send(pb::AttendRequest request, Callback callback) {
  reactor_->Send(std::move(request), std::move(callback));
}

std::future<StatusOr<pb::AttendResponse>> AttendStream::Send(pb::AttendRequest request) {
  // Shared, because std::function must be copyable.
  auto promise = std::make_shared<std::promise<StatusOr<pb::AttendResponse>>>();
  auto future = promise->get_future();
  Send(std::move(request), [promise](StatusOr<pb::AttendResponse> response) {
    promise->set_value(std::move(response));
  });
  return future;
}

StatusOr<pb::AttendResult> AttendStream::AttendOne(pb::AttendItem item,
                                                   std::chrono::milliseconds timeout) {
  pb::AttendRequest request;
  *request.add_items() = std::move(item);
  auto future = Send(std::move(request));
  if (timeout.count() > 0 && future.wait_for(timeout) != std::future_status::ready) {
    return MakeError(StatusCode::kDeadlineExceeded,
                     "no answer within " + std::to_string(timeout.count()) + " ms");
  }
  ALAYA_ASSIGN_OR_RETURN(pb::AttendResponse response, future.get());
  if (response.results_size() != 1) {
    return Internal("one item was sent, " + std::to_string(response.results_size()) +
                    " results came back");
  }
  ALAYA_RETURN_IF_ERROR(ToStatus(response.results(0).status()));
  return std::move(*response.mutable_results(0));
}

Status AttendStream::Close() { return reactor_->Close(); }

size_t AttendStream::pending_count() const { return reactor_->pending_count(); }

}  // namespace alaya::client
