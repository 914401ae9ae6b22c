#include "server/rpc/rpc_server.h"

#include <sys/stat.h>

#include <string_view>
#include <utility>

#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/engine/worker_pool.h"
#include "server/rpc/attend_stream.h"
#include "server/rpc/context_service.h"
#include "server/rpc/service_context.h"
#include "server/rpc/session_service.h"
#include "server/rpc/unix_socket.h"

namespace alaya {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
// Clients' own pings are welcome: engines keep long streams open through proxies.
constexpr int kClientPingIntervalMinMs = 5'000;
constexpr int kKeepaliveTimeoutMs = 20'000;

bool IsUnix(const std::string& address) { return address.starts_with(kUnixPrefix); }

void SetChannelArguments(const RpcOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(-1);
  // Otherwise a second server could share the port and take half of the connections.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(options.max_streams_per_connection));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                              static_cast<int>(options.keepalive_interval.count()));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kClientPingIntervalMinMs);
}

// The address with the port that was really taken.
std::string BoundAddress(const std::string& address, int port) {
  if (IsUnix(address)) return address;
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

}  // namespace

// In the order of construction: handlers use what stands before them.
struct RpcServer::Parts {
  RpcOptions options;
  ServerSelf self;
  CallGate gate;
  AttendStreams streams;
  WorkerPool pool;
  ServiceContext service;
  ContextServiceHandler contexts{service};
  SessionServiceHandler sessions{service, &streams, options.max_requests_in_flight_per_stream};
  AdminServiceHandler admin{service, options, self};
  std::unique_ptr<grpc::Server> server;

  Parts(RpcOptions rpc_options, ServerSelf server_self, Engine* engine, RpcObserver* observer)
      : options(std::move(rpc_options)),
        self(std::move(server_self)),
        pool("alaya-rpc", options.blocking_worker_count),
        service{.engine = engine,
                .pool = &pool,
                .gate = &gate,
                .observer = observer,
                .limits = {.engine = engine->limits(),
                           .max_items_per_request = options.max_items_per_request}} {}

  void SetServing(bool serving) const {
    grpc::HealthCheckServiceInterface* health = server->GetHealthCheckService();
    for (const char* name :
         {"", v1::ContextService::service_full_name(), v1::SessionService::service_full_name(),
          v1::AdminService::service_full_name()}) {
      health->SetServingStatus(name, serving);
    }
  }
};

RpcServer::RpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(RpcOptions options, ServerSelf self,
                                                      Engine* engine, RpcObserver* observer) {
  std::unique_ptr<RpcServer> result(new RpcServer(
      std::make_unique<Parts>(std::move(options), std::move(self), engine, observer)));
  Parts& parts = *result->parts_;
  const std::vector<std::string>& wanted = parts.options.listen_addresses;

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetChannelArguments(parts.options, &builder);
  std::vector<int> ports(wanted.size(), 0);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (IsUnix(wanted[i])) {
      ALAYA_RETURN_IF_ERROR(RemoveStaleSocket(wanted[i].substr(kUnixPrefix.size())));
    }
    builder.AddListeningPort(wanted[i], grpc::InsecureServerCredentials(), &ports[i]);
  }
  builder.RegisterService(&parts.contexts);
  builder.RegisterService(&parts.sessions);
  builder.RegisterService(&parts.admin);
  parts.server = builder.BuildAndStart();
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (ports[i] == 0) {
      return Unavailable("cannot listen on " + wanted[i] +
                         ": the address is in use or does not exist on this machine");
    }
    result->addresses_.push_back(BoundAddress(wanted[i], ports[i]));
    // The process's umask already keeps others out; this drops the execute bit.
    if (IsUnix(wanted[i])) chmod(wanted[i].c_str() + kUnixPrefix.size(), S_IRUSR | S_IWUSR);
  }
  if (parts.server == nullptr) return Unavailable("the gRPC server did not start");
  parts.SetServing(true);
  return result;
}

bool RpcServer::Drain(std::chrono::milliseconds timeout) {
  Parts& parts = *parts_;
  parts.SetServing(false);
  parts.gate.Close();
  parts.streams.Drain();
  const bool in_time = parts.gate.WaitUntilEmpty(std::chrono::steady_clock::now() + timeout);
  // Health watchers and reflection streams never end by themselves.
  parts.server->Shutdown(std::chrono::system_clock::now());
  return in_time;
}

RpcServer::~RpcServer() {
  if (parts_->server == nullptr) return;
  parts_->gate.Close();
  parts_->streams.Drain();
  parts_->server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace alaya
