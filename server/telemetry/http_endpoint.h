// The metrics port: /metrics for Prometheus, /livez and /readyz for orchestrators.

#ifndef ALAYA_SERVER_TELEMETRY_HTTP_ENDPOINT_H_
#define ALAYA_SERVER_TELEMETRY_HTTP_ENDPOINT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "server/telemetry/metrics.h"
#include "server/telemetry/readiness.h"
#include "storage/types/status.h"

namespace alaya {

class HttpEndpoint {
 public:
  // Listens on host:port (port 0: any free one) and answers on threads of its own.
  // `metrics` and `readiness` must outlive it. Errors: Unavailable.
  static StatusOr<std::unique_ptr<HttpEndpoint>> Start(const std::string& host, uint16_t port,
                                                       const Metrics* metrics,
                                                       const Readiness* readiness);
  ~HttpEndpoint();

  // The port that was really taken.
  uint16_t port() const;

 private:
  struct Impl;
  explicit HttpEndpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_HTTP_ENDPOINT_H_
