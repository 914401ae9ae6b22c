#include "client/client.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpc/grpc.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/channel_arguments.h>

#include <future>
#include <thread>
#include <utility>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "alaya/v1/session_service.grpc.pb.h"
#include "client/retry_policy.h"
#include "client/rpc_status.h"

namespace alaya::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

// grpc.health.v1 has one field in each message; the standard wrappers have the same
// wire form, which saves a copy of health.proto.
using HealthCheckRequest = google::protobuf::StringValue;  // service
using HealthCheckResponse = google::protobuf::Int32Value;  // status
constexpr char kHealthCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr int kServing = 1;

grpc::ChannelArguments ChannelArgumentsFor(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  arguments.SetMaxSendMessageSize(static_cast<int>(options.message_bytes_max));
  // A database is talked to directly, whatever http_proxy says.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // The server is near: look again soon after it restarts.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  if (!options.tls_server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls_server_name);
  }
  if (options.retry_idempotent_calls) arguments.SetServiceConfigJSON(RetryServiceConfig());
  return arguments;
}

void SetTimeout(milliseconds timeout, grpc::ClientContext& context) {
  if (timeout.count() > 0) context.set_deadline(system_clock::now() + timeout);
}

template <typename Stub, typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

template <typename Stub, typename Request, typename Response>
StatusOr<Response> Call(Stub& stub, Method<Stub, Request, Response> method, const Request& request,
                        const Authorization& authorization, milliseconds timeout) {
  grpc::ClientContext context;
  authorization.AddTo(context);
  SetTimeout(timeout, context);
  Response response;
  ALAYA_RETURN_IF_ERROR(ToStatus((stub.*method)(&context, request, &response)));
  return response;
}

}  // namespace

struct Client::Connection {
  Connection(const std::shared_ptr<grpc::Channel>& open_channel, Authorization shown)
      : channel(open_channel),
        authorization(std::move(shown)),
        contexts(pb::ContextService::NewStub(channel)),
        sessions(pb::SessionService::NewStub(channel)),
        admin(pb::AdminService::NewStub(channel)) {}

  std::shared_ptr<grpc::Channel> channel;
  Authorization authorization;
  std::unique_ptr<pb::ContextService::Stub> contexts;
  std::unique_ptr<pb::SessionService::Stub> sessions;
  std::unique_ptr<pb::AdminService::Stub> admin;
};

Client::Client(std::shared_ptr<const Connection> connection, milliseconds call_timeout)
    : connection_(std::move(connection)), call_timeout_(call_timeout) {}

StatusOr<Client> Client::Connect(const std::string& target, const ClientOptions& options) {
  // gRPC 1.51 shuts down with its last channel, which can wait 10 s for a thread that
  // polls. One reference that is never given back keeps it up.
  [[maybe_unused]] static const bool kept_initialized = (grpc_init(), true);
  ALAYA_ASSIGN_OR_RETURN(Authorization authorization, Authorization::FromApiKey(options.api_key));
  auto credentials = options.credentials;
  if (credentials == nullptr && options.tls) {
    ALAYA_ASSIGN_OR_RETURN(credentials, TlsCredentials(*options.tls));
  }
  if (credentials == nullptr) credentials = grpc::InsecureChannelCredentials();
  const auto channel = grpc::CreateCustomChannel(target, credentials, ChannelArgumentsFor(options));
  if (options.connect_timeout.count() > 0 &&
      !channel->WaitForConnected(system_clock::now() + options.connect_timeout)) {
    return Unavailable("no server at '" + target + "' within " +
                       std::to_string(options.connect_timeout.count()) + " ms");
  }
  return Client(std::make_shared<const Connection>(channel, std::move(authorization)),
                options.call_timeout);
}

Client Client::WithCallTimeout(milliseconds timeout) const { return {connection_, timeout}; }

StatusOr<bool> Client::CheckServing() const {
  grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub(connection_->channel);
  grpc::ClientContext context;
  SetTimeout(call_timeout_, context);
  const HealthCheckRequest request;
  HealthCheckResponse response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, kHealthCheckMethod, grpc::StubOptions(), &request, &response,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  ALAYA_RETURN_IF_ERROR(ToStatus(done.get_future().get()));
  return response.value() == kServing;
}

Status Client::WaitUntilServing(milliseconds timeout) const {
  constexpr milliseconds kPause{50};
  const auto deadline = steady_clock::now() + timeout;
  std::string reason;
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    const StatusOr<bool> serving = WithCallTimeout(std::max(left, milliseconds{1})).CheckServing();
    if (serving.ok() && *serving) return OkStatus();
    // That the last call had no time left says less than what an earlier one saw.
    if (reason.empty() || serving.status().code() != StatusCode::kDeadlineExceeded) {
      reason = serving.ok() ? "it is not ready" : std::string(Message(serving.status()));
    }
    if (steady_clock::now() + kPause >= deadline) {
      return MakeError(
          StatusCode::kDeadlineExceeded,
          "the server does not serve after " + std::to_string(timeout.count()) + " ms: " + reason);
    }
    std::this_thread::sleep_for(kPause);
  }
}

StatusOr<ContextImporter> Client::ImportContext(const pb::ImportContextRequest::Header& header,
                                                ContextImporterOptions options) const {
  return ContextImporter::Begin(connection_->channel, connection_->authorization, header,
                                std::move(options));
}

ContextReader Client::ReadContext(const pb::ReadContextRequest& request) const {
  return {connection_->channel, connection_->authorization, request};
}

AttendStream Client::Attend(AttendStreamOptions options) const {
  return {connection_->channel, connection_->authorization, options};
}

BlockingAttendStream Client::AttendBlocking() const {
  return BlockingAttendStream(connection_->channel, connection_->authorization);
}

// The calls that are no streams differ only in their messages.
#define ALAYA_DEFINE_CALL(service, stub, method)                                            \
  StatusOr<pb::method##Response> Client::method(const pb::method##Request& request) const { \
    return Call(*connection_->stub, &pb::service::Stub::method, request,                    \
                connection_->authorization, call_timeout_);                                 \
  }
#define ALAYA_DEFINE_CALL_WITHOUT_ARGUMENTS(service, stub, method)                     \
  StatusOr<pb::method##Response> Client::method() const {                              \
    return Call(*connection_->stub, &pb::service::Stub::method, pb::method##Request(), \
                connection_->authorization, call_timeout_);                            \
  }

ALAYA_DEFINE_CALL(ContextService, contexts, MatchContext)
ALAYA_DEFINE_CALL(ContextService, contexts, GetContext)
ALAYA_DEFINE_CALL(ContextService, contexts, ListContexts)
ALAYA_DEFINE_CALL(ContextService, contexts, UpdateContext)
ALAYA_DEFINE_CALL(ContextService, contexts, DeleteContext)
ALAYA_DEFINE_CALL(ContextService, contexts, SearchContext)
ALAYA_DEFINE_CALL(SessionService, sessions, CreateSession)
ALAYA_DEFINE_CALL(SessionService, sessions, StoreSession)
ALAYA_DEFINE_CALL(SessionService, sessions, ForkSession)
ALAYA_DEFINE_CALL(SessionService, sessions, TruncateSession)
ALAYA_DEFINE_CALL(SessionService, sessions, CloseSession)
ALAYA_DEFINE_CALL(SessionService, sessions, GetSession)
ALAYA_DEFINE_CALL(SessionService, sessions, ListSessions)
ALAYA_DEFINE_CALL(AdminService, admin, RegisterModel)
ALAYA_DEFINE_CALL_WITHOUT_ARGUMENTS(AdminService, admin, ListModels)
ALAYA_DEFINE_CALL_WITHOUT_ARGUMENTS(AdminService, admin, GetServerInfo)
ALAYA_DEFINE_CALL_WITHOUT_ARGUMENTS(AdminService, admin, GetStats)
ALAYA_DEFINE_CALL(AdminService, admin, CreateBackup)
ALAYA_DEFINE_CALL_WITHOUT_ARGUMENTS(AdminService, admin, CompactStorage)
ALAYA_DEFINE_CALL(AdminService, admin, SetLogLevel)

#undef ALAYA_DEFINE_CALL_WITHOUT_ARGUMENTS
#undef ALAYA_DEFINE_CALL

}  // namespace alaya::client
