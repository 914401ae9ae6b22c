#include "server/rpc/read_stream.h"

#include <numeric>
#include <string>
#include <utility>

#include "server/rpc/status_details.h"

namespace alaya {

ReadStream::ReadStream(const ServiceContext& service, grpc::CallbackServerContext* call,
                       const v1::ReadContextRequest* request)
    : service_(service),
      deadline_(DeadlineOf(*call)),
      request_(request),
      record_(service, "ReadContext", *call) {}

ReadStream::Reactor* ReadStream::Start(const ServiceContext& service,
                                       grpc::CallbackServerContext* call,
                                       const v1::ReadContextRequest* request) {
  const std::shared_ptr<ReadStream> stream(new ReadStream(service, call, request));
  stream->self_ = stream;
  const std::lock_guard lock(stream->mutex_);
  if (const Status admitted = stream->record_.Start(); !admitted.ok()) {
    stream->result_ = admitted;
    stream->FinishIfDone();
  } else {
    stream->StartProducer();
  }
  return stream.get();
}

void ReadStream::StartProducer() {
  producing_ = true;
  record_.Post([self = shared_from_this()] { self->Produce(); });
}

void ReadStream::Produce() {
  const StatusOr<bool> everything_read = ProduceChunks();
  const std::lock_guard lock(mutex_);
  producing_ = false;
  if (!everything_read.ok()) {
    result_ = everything_read.status();
  } else if (*everything_read) {
    result_ = OkStatus();
  } else if (WantsChunks()) {
    // The writer caught up while this task was still returning.
    StartProducer();
  }
  FinishIfDone();
}

StatusOr<bool> ReadStream::ProduceChunks() {
  if (context_ == nullptr) {
    ALAYA_RETURN_IF_ERROR(record_.TakeBytes(request_->ByteSizeLong()).status());
    ALAYA_RETURN_IF_ERROR(Resolve());
  }
  while (layer_position_ < params_.layers.size()) {
    if (cancelled_) return MakeError(StatusCode::kCancelled, "the caller cancelled");
    ALAYA_RETURN_IF_ERROR(record_.caller().CheckStillValid());
    if (std::chrono::steady_clock::now() >= deadline_) {
      return MakeError(StatusCode::kDeadlineExceeded, "the deadline passed during the read");
    }
    const uint32_t layer = params_.layers[layer_position_];
    bool stopped = false;
    ALAYA_RETURN_IF_ERROR(service_.engine->ReadContext(
        record_.caller().tenant(), params_.context_id, TokenRange{next_token_, range_.end},
        std::span(&layer, 1), [this, &stopped](ReadChunk chunk) {
          stopped = !Push(std::move(chunk));
          return !stopped;
        }));
    if (!stopped || next_token_ >= range_.end) {
      ++layer_position_;
      next_token_ = range_.begin;
    }
    if (stopped) return layer_position_ == params_.layers.size();
  }
  return true;
}

Status ReadStream::Resolve() {
  ALAYA_ASSIGN_OR_RETURN(params_, FromProto(*request_));
  ALAYA_ASSIGN_OR_RETURN(
      auto context, service_.engine->GetContext(record_.caller().tenant(), params_.context_id));
  const uint64_t token_count = context->token_count();
  const uint32_t layer_count = context->model->model.num_layers;
  range_ = {0, token_count};
  if (params_.token_range) {
    range_ = Intersect(*params_.token_range, range_);
    // An explicit end past the last token would be answered short, without a word.
    if (range_.empty() || request_->token_range().end() > token_count) {
      return RequestError("TOKEN_RANGE", {"token_range"},
                          "[" + std::to_string(request_->token_range().begin()) + ", " +
                              std::to_string(request_->token_range().end()) + "), context '" +
                              context->id + "' has " + std::to_string(token_count) + " tokens");
    }
  }
  for (const uint32_t layer : params_.layers) {
    if (layer >= layer_count) {
      return RequestError("LAYER_UNKNOWN", {"layers"},
                          std::to_string(layer) + ", model '" + context->model->model.name +
                              "' has " + std::to_string(layer_count) + " layers");
    }
  }
  if (params_.layers.empty()) {
    params_.layers.resize(layer_count);
    std::iota(params_.layers.begin(), params_.layers.end(), 0U);
  }
  next_token_ = range_.begin;
  context_ = std::move(context);
  return OkStatus();
}

bool ReadStream::Push(ReadChunk chunk) {
  next_token_ = chunk.token_begin + chunk.tokens;
  Chunk next;
  ToProto(std::move(chunk), context_->model->model, &next.response);
  CallRecord::Taken taken = record_.TakeBytesAnyway(next.response.ByteSizeLong());
  next.bytes = std::move(taken.share);
  const std::lock_guard lock(mutex_);
  over_limits_ = !taken.within_limits;
  chunks_.push_back(std::move(next));
  StartNextWrite();
  return !cancelled_ && !over_limits_ && chunks_.size() < kChunksAheadMax;
}

bool ReadStream::WantsChunks() const {
  return over_limits_ ? chunks_.empty() : chunks_.size() < kChunksAheadMax / 2;
}

void ReadStream::StartNextWrite() {
  if (writing_ || chunks_.empty()) return;
  writing_ = true;
  StartWrite(&chunks_.front().response);
}

void ReadStream::OnWriteDone(bool ok) {
  const auto self = shared_from_this();
  const std::lock_guard lock(mutex_);
  writing_ = false;
  chunks_.pop_front();
  if (!ok) {
    cancelled_ = true;
    chunks_.clear();
  }
  StartNextWrite();
  if (!producing_ && !result_ && WantsChunks()) StartProducer();
  FinishIfDone();
}

void ReadStream::FinishIfDone() {
  if (finished_ || !result_ || producing_ || writing_ || !chunks_.empty()) return;
  finished_ = true;
  context_.reset();
  record_.Finish(*result_);
  Finish(ToGrpcStatus(*result_));
}

}  // namespace alaya
