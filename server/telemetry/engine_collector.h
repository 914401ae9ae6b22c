// Metrics read when somebody scrapes: the engine's and the process's own figures.

#ifndef ALAYA_SERVER_TELEMETRY_ENGINE_COLLECTOR_H_
#define ALAYA_SERVER_TELEMETRY_ENGINE_COLLECTOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/engine/engine.h"
#include "server/telemetry/process_stats.h"

namespace alaya {

// Connections since the start, and what they are encrypted with.
struct ConnectionFigures {
  uint64_t accepted = 0;
  uint64_t refused_for_files = 0;  // too many open files
  uint64_t refused_users = 0;      // of unix sockets
  uint64_t failed_accepts = 0;
  std::optional<WallTime> certificate_end;  // none: without TLS
};

class EngineCollector final : public prometheus::Collectable {
 public:
  // What is called here must outlive this, and may be called from any thread.
  EngineCollector(std::function<EngineStats()> engine_stats,
                  std::function<ConnectionFigures()> connections,
                  std::function<ProcessStats()> process_stats, WallTime start_time);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::function<EngineStats()> engine_stats_;
  const std::function<ConnectionFigures()> connections_;
  const std::function<ProcessStats()> process_stats_;
  const WallTime start_time_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_ENGINE_COLLECTOR_H_
