#include "client/context_importer.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <string>
#include <utility>

#include "alaya/v1/context_service.grpc.pb.h"
#include "client/rpc_status.h"

namespace alaya::client {
namespace {

Status CheckChunk(const ContextChunk& chunk) {
  const TensorView& key = chunk.key;
  const TensorView& value = chunk.value;
  if (key.dtype != value.dtype || key.tokens != value.tokens || key.heads != value.heads ||
      key.dim != value.dim) {
    return InvalidArgument("layer " + std::to_string(chunk.layer) +
                           ": key and value differ in shape or dtype");
  }
  if (key.tokens == 0) {
    return InvalidArgument("layer " + std::to_string(chunk.layer) + ": a chunk of no tokens");
  }
  for (const TensorView& view : {key, value, chunk.query.value_or(TensorView{})}) {
    if (view.tokens * view.token_bytes() != view.data.size()) {
      return InvalidArgument("layer " + std::to_string(chunk.layer) + ": " +
                             std::to_string(view.data.size()) + " bytes for " +
                             std::to_string(view.tokens * view.token_bytes()));
    }
  }
  return OkStatus();
}

// Part i of n of [0, count), as even as whole numbers allow.
struct Part {
  size_t begin = 0;
  size_t count = 0;
};
Part EvenPart(size_t count, size_t i, size_t n) {
  const size_t begin = count * i / n;
  return {begin, count * (i + 1) / n - begin};
}

}  // namespace

struct ContextImporter::State {
  ~State() {
    if (finished) return;
    // gRPC wants every call finished; the outcome of a cancelled one says nothing.
    context.TryCancel();
    (void)call->Finish();
  }

  // Ends the call and keeps how it ended.
  Status Finish() {
    if (!finished) {
      finished = true;
      final_status = ToStatus(call->Finish());
    }
    return final_status;
  }

  Status Write(const pb::ImportContextRequest& request) {
    if (finished) {
      return final_status.ok() ? FailedPrecondition("the import is committed") : final_status;
    }
    if (call->Write(request)) return OkStatus();
    // The server ended the call early; OK would mean that it committed a part of it.
    const Status status = Finish();
    return status.ok() ? Internal("the server ended the import before it was complete") : status;
  }

  ContextImporterOptions options;
  grpc::ClientContext context;
  pb::ImportContextResponse response;
  std::unique_ptr<grpc::ClientWriter<pb::ImportContextRequest>> call;
  uint64_t sent_bytes = 0;
  bool finished = false;
  Status final_status;
};

StatusOr<ContextImporter> ContextImporter::Begin(const std::shared_ptr<grpc::Channel>& channel,
                                                 const Authorization& authorization,
                                                 const pb::ImportContextRequest::Header& header,
                                                 ContextImporterOptions options) {
  auto state = std::make_unique<State>();
  state->options = std::move(options);
  authorization.AddTo(state->context);
  state->call =
      pb::ContextService::NewStub(channel)->ImportContext(&state->context, &state->response);
  pb::ImportContextRequest request;
  *request.mutable_header() = header;
  ALAYA_RETURN_IF_ERROR(state->Write(request));
  return ContextImporter(std::move(state));
}

ContextImporter::ContextImporter(std::unique_ptr<State> state) : state_(std::move(state)) {}
ContextImporter::~ContextImporter() = default;
ContextImporter::ContextImporter(ContextImporter&&) noexcept = default;
ContextImporter& ContextImporter::operator=(ContextImporter&&) noexcept = default;

Status ContextImporter::AppendChunk(const ContextChunk& chunk) {
  ALAYA_RETURN_IF_ERROR(CheckChunk(chunk));
  const TensorView query = chunk.query.value_or(TensorView{});
  const size_t total_bytes = chunk.key.data.size() + chunk.value.data.size() + query.data.size();
  const size_t message_bytes = std::max<size_t>(state_->options.message_bytes, 1);
  const size_t message_count =
      std::clamp<size_t>((total_bytes + message_bytes - 1) / message_bytes, 1, chunk.key.tokens);
  for (size_t i = 0; i < message_count; ++i) {
    const Part tokens = EvenPart(chunk.key.tokens, i, message_count);
    const Part queries = EvenPart(query.tokens, i, message_count);
    pb::ImportContextRequest request;
    pb::ImportContextRequest::Chunk& message = *request.mutable_chunk();
    message.set_layer(chunk.layer);
    message.set_token_begin(chunk.token_begin + tokens.begin);
    ALAYA_ASSIGN_OR_RETURN(*message.mutable_key(),
                           MakeTensor(chunk.key.tokens_range(tokens.begin, tokens.count)));
    ALAYA_ASSIGN_OR_RETURN(*message.mutable_value(),
                           MakeTensor(chunk.value.tokens_range(tokens.begin, tokens.count)));
    if (queries.count > 0) {
      ALAYA_ASSIGN_OR_RETURN(*message.mutable_query(),
                             MakeTensor(query.tokens_range(queries.begin, queries.count)));
    }
    ALAYA_RETURN_IF_ERROR(state_->Write(request));
    state_->sent_bytes +=
        message.key().data().size() + message.value().data().size() + message.query().data().size();
    if (state_->options.progress) state_->options.progress(state_->sent_bytes);
  }
  return OkStatus();
}

StatusOr<pb::ImportContextResponse> ContextImporter::Commit() {
  if (state_->finished) {
    return state_->final_status.ok() ? FailedPrecondition("the import is committed")
                                     : state_->final_status;
  }
  // A failure here shows in Finish as well, with the server's reason.
  (void)state_->call->WritesDone();
  ALAYA_RETURN_IF_ERROR(state_->Finish());
  return state_->response;
}

uint64_t ContextImporter::sent_bytes() const { return state_->sent_bytes; }

}  // namespace alaya::client
