#include "server/rpc/import_stream.h"

#include <chrono>
#include <utility>

#include "server/rpc/convert_context_service.h"
#include "server/rpc/status_details.h"

namespace alaya {

ImportStream::ImportStream(const ServiceContext& service, grpc::CallbackServerContext* call,
                           v1::ImportContextResponse* response)
    : service_(service),
      deadline_(DeadlineOf(*call)),
      response_(response),
      record_(service, "ImportContext", *call) {}

ImportStream::Reactor* ImportStream::Start(const ServiceContext& service,
                                           grpc::CallbackServerContext* call,
                                           v1::ImportContextResponse* response) {
  auto* stream = new ImportStream(service, call, response);
  if (const Status admitted = stream->record_.Start(); !admitted.ok()) {
    stream->End(admitted);
  } else {
    stream->StartRead(&stream->request_);
  }
  return stream;
}

void ImportStream::OnReadDone(bool ok) {
  if (!ok) {
    // A client that gave up looks like one that half-closed until OnCancel has run, which
    // may be later. But only to the latter can anything still be sent.
    StartSendInitialMetadata();
    return;
  }
  bytes_ = record_.TakeBytes(request_.ByteSizeLong());
  record_.Post([this] {
    const Status status = bytes_.ok() ? HandleMessage() : bytes_.status();
    bytes_ = TenantAccount::Share();
    if (!status.ok()) {
      End(status);
    } else {
      StartRead(&request_);
    }
  });
}

void ImportStream::OnSendInitialMetadataDone(bool ok) {
  if (!ok) cancelled_ = true;
  record_.Post([this] { End(Commit()); });
}

Status ImportStream::HandleMessage() {
  if (cancelled_) return MakeError(StatusCode::kCancelled, "the caller cancelled");
  ALAYA_RETURN_IF_ERROR(record_.caller().CheckStillValid());
  if (std::chrono::steady_clock::now() >= deadline_) {
    return MakeError(StatusCode::kDeadlineExceeded, "the deadline passed during the import");
  }
  switch (request_.part_case()) {
    case v1::ImportContextRequest::PART_NOT_SET:
      return RequestError("PART_MISSING", {"part"}, "every message carries a header or a chunk");
    case v1::ImportContextRequest::kHeader: {
      if (import_ != nullptr) {
        return RequestError("HEADER_REPEATED", {"header"}, "only the first message carries it");
      }
      ALAYA_ASSIGN_OR_RETURN(
          ImportHeader header,
          FromProto(request_.header(), record_.caller().tenant(), service_.limits));
      ALAYA_ASSIGN_OR_RETURN(import_, service_.engine->BeginImport(std::move(header)));
      return OkStatus();
    }
    case v1::ImportContextRequest::kChunk: {
      if (import_ == nullptr) {
        return RequestError("HEADER_MISSING", {"chunk"}, "the first message carries the header");
      }
      ALAYA_ASSIGN_OR_RETURN(const ImportChunk chunk, FromProto(request_.chunk(), service_.limits));
      return import_->AddChunk(chunk);
    }
  }
  return Internal("unknown part of an import message");
}

Status ImportStream::Commit() {
  if (cancelled_) return MakeError(StatusCode::kCancelled, "the caller cancelled");
  if (import_ == nullptr) {
    return RequestError("HEADER_MISSING", {"header"}, "the stream ended before a message came");
  }
  ALAYA_ASSIGN_OR_RETURN(const ImportResult result, import_->Finish());
  ToProto(result, response_);
  return OkStatus();
}

void ImportStream::End(const Status& status) {
  import_.reset();
  record_.Finish(status);
  Finish(ToGrpcStatus(status));
}

}  // namespace alaya
