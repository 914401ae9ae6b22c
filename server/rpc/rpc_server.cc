#include "server/rpc/rpc_server.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "alaya/v1/session_service.grpc.pb.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/engine/worker_pool.h"
#include "server/rpc/attend_stream.h"
#include "server/rpc/connection_acceptor.h"
#include "server/rpc/context_service.h"
#include "server/rpc/listening_socket.h"
#include "server/rpc/server_credentials.h"
#include "server/rpc/service_context.h"
#include "server/rpc/session_service.h"

namespace alaya {
namespace {

// Clients' own pings are welcome: engines keep long streams open through proxies.
constexpr int kClientPingIntervalMinMs = 5'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kHealthMessageBytesMax = 4'096;

// gRPC counts milliseconds in an int: 24 days at most.
int Milliseconds(std::chrono::milliseconds duration) {
  return static_cast<int>(std::min<int64_t>(duration.count(), std::numeric_limits<int>::max()));
}

void SetChannelArguments(const RpcOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(-1);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(options.max_streams_per_connection));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_interval));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kClientPingIntervalMinMs);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              Milliseconds(options.handshake_timeout));
  if (options.max_connection_age.count() > 0) {
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                                Milliseconds(options.max_connection_age));
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                                Milliseconds(options.max_connection_age_grace));
  }
}

// Where accepted connections enter a gRPC server.
using Door = grpc::experimental::ExternalConnectionAcceptor;

std::unique_ptr<Door> AddDoor(grpc::ServerBuilder* builder,
                              const std::shared_ptr<grpc::ServerCredentials>& credentials) {
  using ConnectionType = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  return builder->experimental().AddExternalConnectionAcceptor(ConnectionType::FROM_FD,
                                                               credentials);
}

void PassThrough(const ConnectionAcceptor::Connection& from, Door* door) {
  Door::NewConnectionParameters connection;
  connection.listener_fd = from.socket->file();
  connection.fd = from.file;
  door->HandleNewConnection(&connection);
}

// A server without reflection, which gRPC adds to every server of a process that has it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) {
      return dynamic_cast<grpc::reflection::ProtoServerReflectionPlugin*>(plugin.get()) != nullptr;
    });
  }
};

// The options with all users whom the acceptor has to let in.
RpcOptions WithUsers(RpcOptions options, const RpcSecurity& security) {
  std::vector<uid_t>& users = options.acceptor.unix_users;
  if (users.empty()) return options;  // everybody may come
  for (const UnixIdentity& identity : security.unix_identities) users.push_back(identity.user);
  return options;
}

// Which health checks ask for; also on the port that serves them alone.
void SetServing(grpc::Server* server, bool serving) {
  for (const char* name :
       {"", v1::ContextService::service_full_name(), v1::SessionService::service_full_name(),
        v1::AdminService::service_full_name()}) {
    server->GetHealthCheckService()->SetServingStatus(name, serving);
  }
}

// The services as callers see them that are told apart in the same way: gRPC does not say
// which connection a call came through, so users whom the kernel vouches for get a server
// of their own.
struct ServiceSet {
  ServiceContext service;
  ContextServiceHandler contexts{service};
  SessionServiceHandler sessions;
  AdminServiceHandler admin;
  std::unique_ptr<Door> unix_door;
  std::unique_ptr<Door> tcp_door;  // null: for unix sockets only
  std::unique_ptr<grpc::Server> server;

  ServiceSet(ServiceContext context, AttendStreams* streams, const RpcOptions& options,
             const ServerSelf& self)
      : service(std::move(context)),
        sessions(service, streams, options.max_requests_in_flight_per_stream),
        admin(service, options, self) {}

  // `tcp`: the credentials of TCP connections; null: none come. Unix sockets need no
  // encryption: the bytes stay in the kernel.
  Status Build(const RpcOptions& options, const std::shared_ptr<grpc::ServerCredentials>& tcp) {
    grpc::ServerBuilder builder;
    SetChannelArguments(options, &builder);
    unix_door = AddDoor(&builder, grpc::InsecureServerCredentials());
    if (tcp != nullptr) tcp_door = AddDoor(&builder, tcp);
    if (!options.serves_reflection) builder.SetOption(std::make_unique<WithoutReflection>());
    builder.RegisterService(&contexts);
    builder.RegisterService(&sessions);
    builder.RegisterService(&admin);
    server = builder.BuildAndStart();
    return server != nullptr ? OkStatus() : Unavailable("the gRPC server did not start");
  }
};

}  // namespace

// In the order of construction: handlers use what stands before them.
struct RpcServer::Parts {
  RpcOptions options;
  ServerSelf self;
  CallGate gate;
  AttendStreams streams;
  WorkerPool pool;
  RpcObserver* const observer;
  std::vector<std::unique_ptr<ServiceSet>> service_sets;  // the first is everybody's
  std::map<uid_t, ServiceSet*> set_of_user;
  grpc::CallbackGenericService no_methods;
  std::unique_ptr<Door> health_door;  // of health_server; both null: none is wanted
  std::unique_ptr<grpc::Server> health_server;
  std::unique_ptr<ConnectionAcceptor> acceptor;

  Parts(RpcOptions rpc_options, ServerSelf server_self, Engine* engine, RpcObserver* rpc_observer,
        const RpcSecurity& security)
      : options(WithUsers(std::move(rpc_options), security)),
        self(std::move(server_self)),
        pool("alaya-rpc", options.blocking_worker_count),
        observer(rpc_observer) {
    const auto add = [&](CallAccess who) {
      service_sets.push_back(std::make_unique<ServiceSet>(
          ServiceContext{.engine = engine,
                         .pool = &pool,
                         .gate = &gate,
                         .observer = observer,
                         .access = std::move(who),
                         .limits = {.engine = engine->limits(),
                                    .max_items_per_request = options.max_items_per_request,
                                    .max_waiting_calls = options.max_waiting_calls}},
          &streams, options, self));
      return service_sets.back().get();
    };
    add(CallAccess(security.keys, options.unix_needs_key));
    std::map<std::pair<std::string, Role>, ServiceSet*> set_of;
    for (const UnixIdentity& identity : security.unix_identities) {
      ServiceSet*& set = set_of[{identity.tenant, identity.role}];
      if (set == nullptr) {
        set = add(CallAccess(std::make_shared<Credential>(ApiKey{
            .name = "a user of this machine", .tenant = identity.tenant, .role = identity.role})));
      }
      set_of_user[identity.user] = set;
    }
  }

  void SetServing(bool serving) const {
    for (const auto& set : service_sets) alaya::SetServing(set->server.get(), serving);
    if (health_server != nullptr) alaya::SetServing(health_server.get(), serving);
  }

  Status BuildServers(const RpcSecurity& security) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    const auto plain = grpc::InsecureServerCredentials();
    const auto tcp =
        security.certificates == nullptr ? plain : TlsCredentials(*security.certificates);
    ALAYA_RETURN_IF_ERROR(service_sets.front()->Build(options, tcp));
    for (size_t i = 1; i < service_sets.size(); ++i) {
      ALAYA_RETURN_IF_ERROR(service_sets[i]->Build(options, nullptr));
    }
    if (options.health_listen_address.empty()) return OkStatus();
    grpc::ServerBuilder health_builder;
    SetChannelArguments(options, &health_builder);
    health_builder.SetMaxReceiveMessageSize(kHealthMessageBytesMax);
    health_builder.SetOption(std::make_unique<WithoutReflection>());
    // gRPC starts no server without a service of somebody's; this one knows no method.
    health_builder.RegisterCallbackGenericService(&no_methods);
    health_door = AddDoor(&health_builder, plain);
    health_server = health_builder.BuildAndStart();
    if (health_server == nullptr) return Unavailable("the gRPC health server did not start");
    return OkStatus();
  }

  Door* DoorFor(const ConnectionAcceptor::Connection& connection) const {
    if (!connection.socket->is_unix()) return service_sets.front()->tcp_door.get();
    const auto own = connection.user ? set_of_user.find(*connection.user) : set_of_user.end();
    return (own == set_of_user.end() ? service_sets.front().get() : own->second)->unix_door.get();
  }

  // Connections of `health_files` come through the sockets of health checks.
  void StartAccepting(std::vector<ListeningSocket> sockets, std::set<int> health_files) {
    acceptor = std::make_unique<ConnectionAcceptor>(
        std::move(sockets), options.acceptor,
        [this, files = std::move(health_files)](const ConnectionAcceptor::Connection& connection) {
          const bool for_health = files.contains(connection.socket->file());
          PassThrough(connection, for_health ? health_door.get() : DoorFor(connection));
        });
  }

  void Shutdown() const {
    acceptor->Stop();
    // Health watchers and reflection streams never end by themselves.
    const auto now = std::chrono::system_clock::now();
    for (const auto& set : service_sets) set->server->Shutdown(now);
    if (health_server != nullptr) health_server->Shutdown(now);
  }
};

RpcServer::RpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(RpcOptions options, ServerSelf self,
                                                      Engine* engine, RpcObserver* observer,
                                                      const RpcSecurity& security) {
  std::unique_ptr<RpcServer> result(new RpcServer(
      std::make_unique<Parts>(std::move(options), std::move(self), engine, observer, security)));
  Parts& parts = *result->parts_;
  std::vector<ListeningSocket> sockets;
  const auto listen = [&](const std::string& wanted) -> StatusOr<std::string> {
    ALAYA_ASSIGN_OR_RETURN(std::vector<ListeningSocket> opened,
                           ListenOn(wanted, parts.options.unix_socket_mode));
    std::string address = opened.front().address();
    std::move(opened.begin(), opened.end(), std::back_inserter(sockets));
    return address;
  };
  for (const std::string& wanted : parts.options.listen_addresses) {
    ALAYA_ASSIGN_OR_RETURN(std::string address, listen(wanted));
    result->addresses_.push_back(std::move(address));
  }
  std::set<int> health_files;
  if (!parts.options.health_listen_address.empty()) {
    const size_t before = sockets.size();
    ALAYA_ASSIGN_OR_RETURN(result->health_address_, listen(parts.options.health_listen_address));
    for (size_t i = before; i < sockets.size(); ++i) health_files.insert(sockets[i].file());
  }
  ALAYA_RETURN_IF_ERROR(parts.BuildServers(security));
  parts.SetServing(true);
  parts.StartAccepting(std::move(sockets), std::move(health_files));
  return result;
}

AcceptorStats RpcServer::connections() const { return parts_->acceptor->stats(); }

bool RpcServer::Drain(std::chrono::milliseconds timeout) {
  Parts& parts = *parts_;
  parts.SetServing(false);
  parts.gate.Close();
  parts.streams.Drain();
  const bool in_time = parts.gate.WaitUntilEmpty(std::chrono::steady_clock::now() + timeout);
  parts.Shutdown();
  return in_time;
}

RpcServer::~RpcServer() {
  if (parts_->acceptor == nullptr) return;
  parts_->gate.Close();
  parts_->streams.Drain();
  parts_->Shutdown();
}

}  // namespace alaya
