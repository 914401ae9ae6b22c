#include "client/blocking_attend_stream.h"

#include <optional>
#include <utility>

#include "alaya/v1/session_service.grpc.pb.h"
#include "client/rpc_status.h"

namespace alaya::client {

struct BlockingAttendStream::State {
  State(const std::shared_ptr<grpc::Channel>& channel, const Authorization& authorization) {
    authorization.AddTo(context);
    call = pb::SessionService::NewStub(channel)->Attend(&context);
  }
  ~State() {
    if (ended) return;
    context.TryCancel();
    Finish().IgnoreError();  // cancelled
  }

  // Why the stream ended.
  Status Finish() {
    call->WritesDone();
    pb::AttendResponse unread;
    while (call->Read(&unread)) {
    }
    ended = ToStatus(call->Finish());
    return *ended;
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<pb::AttendRequest, pb::AttendResponse>> call;
  std::optional<Status> ended;
};

BlockingAttendStream::BlockingAttendStream(const std::shared_ptr<grpc::Channel>& channel,
                                           const Authorization& authorization)
    : state_(std::make_unique<State>(channel, authorization)) {}
BlockingAttendStream::~BlockingAttendStream() = default;
BlockingAttendStream::BlockingAttendStream(BlockingAttendStream&&) noexcept = default;
BlockingAttendStream& BlockingAttendStream::operator=(BlockingAttendStream&&) noexcept = default;

StatusOr<pb::AttendResponse> BlockingAttendStream::Exchange(const pb::AttendRequest& request) {
  if (state_->ended) {
    if (!state_->ended->ok()) return *state_->ended;
    return FailedPrecondition("the attend stream is closed");
  }
  pb::AttendResponse response;
  if (state_->call->Write(request) && state_->call->Read(&response)) return response;
  const Status why = state_->Finish();
  return why.ok() ? Unavailable("the server ended the attend stream") : why;
}

StatusOr<pb::AttendResult> BlockingAttendStream::AttendOne(pb::AttendItem item) {
  pb::AttendRequest request;
  *request.add_items() = std::move(item);
  ALAYA_ASSIGN_OR_RETURN(pb::AttendResponse response, Exchange(request));
  if (response.results_size() != 1) {
    return Internal("the server answered one item with " + std::to_string(response.results_size()) +
                    " results");
  }
  pb::AttendResult& result = *response.mutable_results(0);
  ALAYA_RETURN_IF_ERROR(ToStatus(result.status()));
  return std::move(result);
}

Status BlockingAttendStream::Close() { return state_->ended ? *state_->ended : state_->Finish(); }

}  // namespace alaya::client
