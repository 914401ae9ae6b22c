// The server's metrics, as verbs. Names and labels are listed in README.md; they are
// a contract with dashboards.
//
// What happens is counted here when it happens; what the engine and the process know
// anyway is read when somebody scrapes (engine_collector.h).

#ifndef ALAYA_SERVER_TELEMETRY_METRICS_H_
#define ALAYA_SERVER_TELEMETRY_METRICS_H_

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/engine/attend_types.h"
#include "storage/types/status.h"

namespace prometheus {
class Collectable;
}  // namespace prometheus

namespace alaya {

// Threads: any. Cost of an attention item: below a microsecond.
class Metrics {
 public:
  Metrics(std::string_view version, std::string_view build);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void CallStarted();
  void CallFinished(std::string_view method, StatusCode code, std::chrono::nanoseconds duration);
  // An item of an Attend stream: counted as a request with method "Attend".
  void AttendItemFinished(StatusCode code, std::chrono::nanoseconds duration,
                          const AttendStats& stats);

  std::vector<AttendStageTimes> attend_stages() const;

  // Also exports what `collectable` has to say; replaces the one before, null: none.
  void SetCollectable(std::shared_ptr<prometheus::Collectable> collectable);

  // Everything in Prometheus's text format.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_METRICS_H_
