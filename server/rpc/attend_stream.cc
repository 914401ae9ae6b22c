#include "server/rpc/attend_stream.h"

#include <algorithm>
#include <utility>

#include "server/rpc/convert_session_service.h"
#include "server/rpc/status_details.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

// Messages keep their memory for the next request unless a rare large one grew them, or a
// burst made many of them.
constexpr size_t kReusedBytesMax = size_t{1} << 20;
constexpr size_t kReusedMessagesMax = 8;

// Of the request and, since outputs are as large as queries, of its answer.
size_t MessageBytes(const v1::AttendRequest& request) {
  constexpr size_t kItemOverheadBytes = 512;
  size_t bytes = kItemOverheadBytes;
  for (const v1::AttendItem& item : request.items()) {
    bytes += kItemOverheadBytes + 2 * item.query().data().size() + item.key().data().size() +
             item.value().data().size();
  }
  return bytes;
}

AttendResult Failed(Status status) {
  AttendResult result;
  result.status = std::move(status);
  return result;
}

}  // namespace

void AttendStreams::Add(const std::shared_ptr<AttendStream>& stream) {
  const std::lock_guard lock(mutex_);
  std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
  streams_.push_back(stream);
}

void AttendStreams::Drain() {
  std::vector<std::weak_ptr<AttendStream>> streams;
  {
    const std::lock_guard lock(mutex_);
    streams.swap(streams_);
  }
  for (const auto& weak : streams) {
    if (const auto stream = weak.lock()) stream->Drain();
  }
}

AttendStream::AttendStream(const ServiceContext& service, uint32_t in_flight_count_max,
                           grpc::CallbackServerContext* call)
    : service_(service),
      deadline_(DeadlineOf(*call)),
      in_flight_count_max_(in_flight_count_max),
      record_(service, "AttendStream", *call) {}

AttendStream::Reactor* AttendStream::Start(const ServiceContext& service, AttendStreams* streams,
                                           uint32_t in_flight_count_max,
                                           grpc::CallbackServerContext* call) {
  const std::shared_ptr<AttendStream> stream(new AttendStream(service, in_flight_count_max, call));
  stream->self_ = stream;
  const Status admitted = stream->record_.Start();
  streams->Add(stream);
  const std::lock_guard lock(stream->mutex_);
  if (!admitted.ok()) stream->refusal_ = admitted;
  stream->StartNextRead();
  stream->FinishIfIdle();
  return stream.get();
}

void AttendStream::Drain() {
  const auto self = shared_from_this();
  const std::lock_guard lock(mutex_);
  draining_ = true;
  FinishIfIdle();
}

void AttendStream::OnReadDone(bool ok) {
  const auto self = shared_from_this();
  Exchange* exchange = nullptr;
  {
    const std::lock_guard lock(mutex_);
    exchange = std::exchange(reading_, nullptr);
    if (!ok || finished_) {
      half_closed_ = true;
      spare_.push_back(exchange);
      FinishIfIdle();
      return;
    }
    Register(exchange);
    submitting_ = true;
  }
  Submit(exchange);
  const std::lock_guard lock(mutex_);
  submitting_ = false;
  StartNextRead();
}

void AttendStream::Register(Exchange* exchange) {
  ++in_flight_count_;
  exchange->arrival = std::chrono::steady_clock::now();
  exchange->finished = false;
  exchange->response.set_request_id(exchange->request.request_id());
  for (const v1::AttendItem& item : exchange->request.items()) {
    const auto [found, is_first] = last_of_session_.try_emplace(item.session_id(), exchange);
    if (is_first || found->second == exchange) continue;
    found->second->blocked.push_back(exchange);
    ++exchange->blocker_count;
    // The name views the older request, which may be gone before this one.
    last_of_session_.erase(found);
    last_of_session_.emplace(item.session_id(), exchange);
  }
}

void AttendStream::Submit(Exchange* exchange) {
  const v1::AttendRequest& request = exchange->request;
  Status refusal = CheckItemCount(request, service_.limits);
  if (refusal.ok()) refusal = record_.caller().CheckStillValid();
  if (refusal.ok()) refusal = Charge(exchange);
  if (refusal.ok() && service_.gate->closed()) refusal = DrainingError();
  // Even a request without items has a result, to carry the error.
  const int result_count = std::max(request.items_size(), 1);
  exchange->response.mutable_results()->Reserve(result_count);
  for (int i = 0; i < result_count; ++i) exchange->response.add_results();
  exchange->unfinished_count = static_cast<size_t>(result_count) + 1;

  for (int i = 0; i < result_count; ++i) {
    if (!refusal.ok()) {
      FinishItem(exchange, i, Failed(refusal));
      continue;
    }
    StatusOr<AttendItem> item =
        FromProto(request.items(i), i, record_.caller().tenant(), service_.limits);
    if (!item.ok()) {
      FinishItem(exchange, i, Failed(item.status()));
      continue;
    }
    service_.engine->Attend(
        *std::move(item), deadline_, [this] { return cancelled_.load(std::memory_order_relaxed); },
        // Two words: std::function keeps them without an allocation.
        [exchange, i](AttendResult result) {
          exchange->stream->FinishItem(exchange, i, std::move(result));
        });
  }
  CountDown(exchange);
}

// The first request is counted with its call.
Status AttendStream::Charge(Exchange* exchange) {
  if (std::exchange(counts_requests_, true)) ALAYA_RETURN_IF_ERROR(record_.CountRequest());
  ALAYA_ASSIGN_OR_RETURN(exchange->bytes, record_.TakeBytes(MessageBytes(exchange->request)));
  return OkStatus();
}

void AttendStream::FinishItem(Exchange* exchange, int index, AttendResult result) {
  const CallInfo item{.method = "Attend", .traceparent = record_.traceparent()};
  service_.observer->AttendItemFinished(item, result,
                                        std::chrono::steady_clock::now() - exchange->arrival);
  ToProto(std::move(result), exchange->response.mutable_results(index));
  CountDown(exchange);
}

void AttendStream::CountDown(Exchange* exchange) {
  if (exchange->unfinished_count.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const auto self = shared_from_this();
  const std::lock_guard lock(mutex_);
  exchange->finished = true;
  if (exchange->blocker_count == 0) QueueAnswer(exchange);
  StartNextWrite();
  FinishIfIdle();
}

// Queues the answer, and those that waited only for it.
void AttendStream::QueueAnswer(Exchange* exchange) {
  std::vector<Exchange*> ready{exchange};
  for (size_t i = 0; i < ready.size(); ++i) {
    Exchange* const answer = ready[i];
    answers_.push_back(answer);
    for (const v1::AttendItem& item : answer->request.items()) {
      const auto found = last_of_session_.find(item.session_id());
      if (found != last_of_session_.end() && found->second == answer) last_of_session_.erase(found);
    }
    for (Exchange* const blocked : std::exchange(answer->blocked, {})) {
      if (--blocked->blocker_count == 0 && blocked->finished) ready.push_back(blocked);
    }
  }
}

void AttendStream::StartNextRead() {
  if (reading_ != nullptr || submitting_ || half_closed_ || draining_ || finished_ ||
      !refusal_.ok() || in_flight_count_ >= in_flight_count_max_) {
    return;
  }
  if (spare_.empty()) {
    exchanges_.push_back(std::make_unique<Exchange>(this));
    spare_.push_back(exchanges_.back().get());
  }
  reading_ = spare_.back();
  spare_.pop_back();
  StartRead(&reading_->request);
}

void AttendStream::StartNextWrite() {
  while (!writing_ && !answers_.empty()) {
    if (!write_failed_ && !cancelled_) {
      writing_ = true;
      StartWrite(&answers_.front()->response);
      return;
    }
    // Nobody listens any more.
    Recycle(answers_.front());
    answers_.pop_front();
  }
}

void AttendStream::OnWriteDone(bool ok) {
  const auto self = shared_from_this();
  const std::lock_guard lock(mutex_);
  writing_ = false;
  write_failed_ = write_failed_ || !ok;
  Recycle(answers_.front());
  answers_.pop_front();
  StartNextWrite();
  StartNextRead();
  FinishIfIdle();
}

void AttendStream::Recycle(Exchange* exchange) {
  --in_flight_count_;
  exchange->bytes.Release();
  if (MessageBytes(exchange->request) > kReusedBytesMax || spare_.size() >= kReusedMessagesMax) {
    exchange->request = v1::AttendRequest();
    exchange->response = v1::AttendResponse();
  } else {
    exchange->response.Clear();
  }
  spare_.push_back(exchange);
}

void AttendStream::OnCancel() {
  const auto self = shared_from_this();
  cancelled_ = true;
  const std::lock_guard lock(mutex_);
  half_closed_ = true;
  StartNextWrite();
  FinishIfIdle();
}

void AttendStream::FinishIfIdle() {
  if (finished_ || in_flight_count_ > 0 || !(half_closed_ || draining_ || !refusal_.ok())) return;
  finished_ = true;
  Status status = refusal_;
  if (!refusal_.ok()) {
    // Said above: it was never admitted.
  } else if (cancelled_ || write_failed_) {
    status = MakeError(StatusCode::kCancelled, "the caller cancelled");
  } else if (!half_closed_) {
    status = DrainingError();
  }
  record_.Finish(status);
  // gRPC allows this while a read is outstanding: the read then fails.
  Finish(ToGrpcStatus(status));
}

void AttendStream::OnDone() {
  // Whoever still runs a member function holds a reference, too.
  self_.reset();
}

}  // namespace alaya
