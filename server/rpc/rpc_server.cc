#include "server/rpc/rpc_server.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/engine/worker_pool.h"
#include "server/rpc/attend_stream.h"
#include "server/rpc/connection_acceptor.h"
#include "server/rpc/context_service.h"
#include "server/rpc/listening_socket.h"
#include "server/rpc/service_context.h"
#include "server/rpc/session_service.h"

namespace alaya {
namespace {

// Clients' own pings are welcome: engines keep long streams open through proxies.
constexpr int kClientPingIntervalMinMs = 5'000;
constexpr int kKeepaliveTimeoutMs = 20'000;

void SetChannelArguments(const RpcOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(-1);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(options.max_streams_per_connection));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                              static_cast<int>(options.keepalive_interval.count()));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kClientPingIntervalMinMs);
}

// Hands accepted connections to a door of the gRPC server.
using Door = grpc::experimental::ExternalConnectionAcceptor;

void PassThrough(int file, const ListeningSocket& socket, Door* door) {
  Door::NewConnectionParameters connection;
  connection.listener_fd = socket.file();
  connection.fd = file;
  door->HandleNewConnection(&connection);
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
  std::unique_ptr<Door> door;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<ConnectionAcceptor> acceptor;

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
  std::vector<ListeningSocket> sockets;
  for (const std::string& wanted : parts.options.listen_addresses) {
    ALAYA_ASSIGN_OR_RETURN(std::vector<ListeningSocket> opened,
                           ListenOn(wanted, parts.options.unix_socket_mode));
    result->addresses_.push_back(opened.front().address());
    std::move(opened.begin(), opened.end(), std::back_inserter(sockets));
  }

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetChannelArguments(parts.options, &builder);
  using ConnectionType = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  parts.door = builder.experimental().AddExternalConnectionAcceptor(
      ConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  builder.RegisterService(&parts.contexts);
  builder.RegisterService(&parts.sessions);
  builder.RegisterService(&parts.admin);
  parts.server = builder.BuildAndStart();
  if (parts.server == nullptr) return Unavailable("the gRPC server did not start");
  parts.SetServing(true);
  parts.acceptor = std::make_unique<ConnectionAcceptor>(
      std::move(sockets), parts.options.acceptor,
      [door = parts.door.get()](int file, const ListeningSocket& socket) {
        PassThrough(file, socket, door);
      });
  return result;
}

bool RpcServer::Drain(std::chrono::milliseconds timeout) {
  Parts& parts = *parts_;
  parts.SetServing(false);
  parts.gate.Close();
  parts.streams.Drain();
  const bool in_time = parts.gate.WaitUntilEmpty(std::chrono::steady_clock::now() + timeout);
  parts.acceptor->Stop();
  // Health watchers and reflection streams never end by themselves.
  parts.server->Shutdown(std::chrono::system_clock::now());
  return in_time;
}

RpcServer::~RpcServer() {
  if (parts_->acceptor == nullptr) return;
  parts_->gate.Close();
  parts_->streams.Drain();
  parts_->acceptor->Stop();
  parts_->server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace alaya
