#include "server/rpc/read_stream.h"

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "server/rpc/chunk_message.h"
#include "server/rpc/convert_context_service.h"
#include "server/rpc/status_details.h"

namespace alaya {

ReadStream::ReadStream(const ServiceContext& service, grpc::CallbackServerContext* call)
    : service_(service), deadline_(DeadlineOf(*call)), record_(service, "ReadContext", *call) {}

ReadStream::Reactor* ReadStream::Start(const ServiceContext& service,
                                       grpc::CallbackServerContext* call) {
  const std::shared_ptr<ReadStream> stream(new ReadStream(service, call));
  stream->self_ = stream;
  const std::lock_guard lock(stream->mutex_);
  if (const Status admitted = stream->record_.Start(); !admitted.ok()) {
    stream->result_ = admitted;
    stream->FinishIfDone();
  } else {
    stream->StartRead(&stream->request_);
  }
  return stream.get();
}

void ReadStream::OnReadDone(bool ok) {
  const auto self = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (ok) return StartProducer();
  result_ = MessageError(request_.GetDescriptor()->full_name());
  FinishIfDone();
}

void ReadStream::StartProducer() {
  producing_ = true;
  record_.Post([self = shared_from_this()] { self->Produce(); });
}

void ReadStream::Produce() {
  const StatusOr<bool> everything_read = ProduceChunks();
  // Here, as its end waits for the disk.
  if (!everything_read.ok() || *everything_read) reading_.reset();
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
  if (reading_ == nullptr) {
    ALAYA_RETURN_IF_ERROR(record_.TakeBytes(request_.ByteSizeLong()).status());
    ALAYA_RETURN_IF_ERROR(Begin());
  }
  for (;;) {
    if (cancelled_) return MakeError(StatusCode::kCancelled, "the caller cancelled");
    ALAYA_RETURN_IF_ERROR(record_.caller().CheckStillValid());
    if (std::chrono::steady_clock::now() >= deadline_) {
      return MakeError(StatusCode::kDeadlineExceeded, "the deadline passed during the read");
    }
    ALAYA_ASSIGN_OR_RETURN(const std::optional<ReadChunk> chunk, reading_->Next());
    if (!chunk) return true;
    if (!Push(*chunk)) return false;
  }
}

Status ReadStream::Begin() {
  ALAYA_ASSIGN_OR_RETURN(const ReadParams params, FromProto(request_));
  const std::string_view tenant = record_.caller().tenant();
  ALAYA_ASSIGN_OR_RETURN(const auto context,
                         service_.engine->GetContext(tenant, params.context_id));
  const uint64_t token_count = context->token_count();
  if (params.token_range) {
    // An explicit end past the last token would be answered short, without a word.
    if (Intersect(*params.token_range, {0, token_count}).empty() ||
        request_.token_range().end() > token_count) {
      return RequestError("TOKEN_RANGE", {"token_range"},
                          "[" + std::to_string(request_.token_range().begin()) + ", " +
                              std::to_string(request_.token_range().end()) + "), context '" +
                              context->id + "' has " + std::to_string(token_count) + " tokens");
    }
  }
  model_ = context->model;
  for (const uint32_t layer : params.layers) {
    if (layer >= model_->model.num_layers) {
      return RequestError("LAYER_UNKNOWN", {"layers"},
                          std::to_string(layer) + ", model '" + model_->model.name + "' has " +
                              std::to_string(model_->model.num_layers) + " layers");
    }
  }
  ALAYA_ASSIGN_OR_RETURN(reading_, service_.engine->ReadContext(tenant, params.context_id,
                                                                params.token_range, params.layers));
  ReadAhead();
  return OkStatus();
}

void ReadStream::ReadAhead() {
  for (size_t count = kChunksLoading; count > 0; count /= 2) {
    StatusOr<TenantAccount::Share> loading = record_.TakeBytes(count * reading_->chunk_bytes_max());
    if (!loading.ok()) continue;
    loading_bytes_ = *std::move(loading);
    return reading_->ReadAhead(count);
  }
}

bool ReadStream::Push(const ReadChunk& chunk) {
  Chunk next{.message = ToMessage(chunk, model_->model), .bytes = {}};
  CallRecord::Taken taken = record_.TakeBytesAnyway(next.message.Length());
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
  StartWrite(&chunks_.front().message);
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
  loading_bytes_.Release();
  record_.Finish(*result_);
  Finish(ToGrpcStatus(*result_));
}

}  // namespace alaya
