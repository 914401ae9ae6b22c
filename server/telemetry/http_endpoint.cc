#include "server/telemetry/http_endpoint.h"

#include <httplib.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

namespace alaya {
namespace {

// A scraper, a prober and a person; a connection holds a thread while it is kept open.
constexpr size_t kThreadCount = 4;
constexpr time_t kIdleSeconds = 5;
constexpr size_t kRequestBytesMax = 4096;
constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kMetricsText[] = "text/plain; version=0.0.4; charset=utf-8";

void AddRoutes(const Metrics* metrics, const Readiness* readiness, httplib::Server* server) {
  server->Get("/metrics", [metrics](const httplib::Request& /*request*/, httplib::Response& reply) {
    reply.set_content(metrics->Text(), kMetricsText);
  });
  server->Get("/livez", [](const httplib::Request& /*request*/, httplib::Response& reply) {
    reply.set_content("ok\n", kPlainText);
  });
  server->Get("/readyz",
              [readiness](const httplib::Request& /*request*/, httplib::Response& reply) {
                constexpr int kServiceUnavailable = 503;
                if (!readiness->ready()) reply.status = kServiceUnavailable;
                reply.set_content(std::string(readiness->reason()) + "\n", kPlainText);
              });
}

}  // namespace

struct HttpEndpoint::Impl {
  httplib::Server server;
  uint16_t port = 0;
  std::thread thread;
};

HttpEndpoint::HttpEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Start(const std::string& host, uint16_t port,
                                                            const Metrics* metrics,
                                                            const Readiness* readiness) {
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreadCount); };
  server.set_keep_alive_timeout(kIdleSeconds);
  server.set_read_timeout(kIdleSeconds);
  server.set_write_timeout(kIdleSeconds);
  server.set_payload_max_length(kRequestBytesMax);
  // The library's own default shares the port with whoever else asks for it.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  AddRoutes(metrics, readiness, &server);
  errno = 0;
  const int bound =
      port == 0 ? server.bind_to_any_port(host) : (server.bind_to_port(host, port) ? port : -1);
  if (bound <= 0) {
    const std::string reason = errno != 0 ? std::strerror(errno) : "not an address of this machine";
    return Unavailable("cannot listen for metrics on " + host + ":" + std::to_string(port) + ": " +
                       reason);
  }
  impl->port = static_cast<uint16_t>(bound);
  impl->thread = std::thread([&server] { server.listen_after_bind(); });
  // stop() has no effect before the loop runs.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<HttpEndpoint>(new HttpEndpoint(std::move(impl)));
}

HttpEndpoint::~HttpEndpoint() {
  impl_->server.stop();
  impl_->thread.join();
}

uint16_t HttpEndpoint::port() const { return impl_->port; }

}  // namespace alaya
