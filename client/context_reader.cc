#include "client/context_reader.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <utility>

#include "alaya/v1/context_service.grpc.pb.h"
#include "client/rpc_status.h"

namespace alaya::client {

struct ContextReader::State {
  ~State() {
    if (finished) return;
    context.TryCancel();
    // gRPC wants every call finished; the outcome of a cancelled one says nothing.
    pb::ReadContextResponse chunk;
    while (call->Read(&chunk)) {
    }
    (void)call->Finish();
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<pb::ReadContextResponse>> call;
  bool finished = false;
  Status final_status;
};

ContextReader::ContextReader(const std::shared_ptr<grpc::Channel>& channel,
                             const Authorization& authorization,
                             const pb::ReadContextRequest& request)
    : state_(std::make_unique<State>()) {
  authorization.AddTo(state_->context);
  state_->call = pb::ContextService::NewStub(channel)->ReadContext(&state_->context, request);
}
ContextReader::~ContextReader() = default;
ContextReader::ContextReader(ContextReader&&) noexcept = default;
ContextReader& ContextReader::operator=(ContextReader&&) noexcept = default;

StatusOr<std::optional<pb::ReadContextResponse>> ContextReader::Next() {
  pb::ReadContextResponse chunk;
  ALAYA_ASSIGN_OR_RETURN(const bool is_chunk, Next(&chunk));
  if (!is_chunk) return std::optional<pb::ReadContextResponse>();
  return std::optional(std::move(chunk));
}

StatusOr<bool> ContextReader::Next(pb::ReadContextResponse* chunk) {
  if (!state_->finished && state_->call->Read(chunk)) return true;
  if (!state_->finished) {
    state_->finished = true;
    state_->final_status = ToStatus(state_->call->Finish());
  }
  ALAYA_RETURN_IF_ERROR(state_->final_status);
  return false;
}

}  // namespace alaya::client
