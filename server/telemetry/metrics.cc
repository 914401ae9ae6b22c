#include "server/telemetry/metrics.h"

#include <array>
#include <cstddef>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace alaya {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

constexpr size_t kCodeCount = 17;  // gRPC's canonical codes
constexpr std::array<const char*, kCodeCount> kCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

const Buckets& CallBuckets() {
  static const Buckets buckets = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                  0.1,    0.25,    0.5,    1,     2.5,    5,     10,   30,    60};
  return buckets;
}
const Buckets& StageBuckets() {
  static const Buckets buckets = {0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005,
                                  0.01,    0.02,   0.05,   0.1,    0.2,   0.5,   1};
  return buckets;
}

// Shares of 1, fine where it matters: close to all of it.
const Buckets& ShareBuckets() {
  static const Buckets buckets = {0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1};
  return buckets;
}

size_t CodeIndex(StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < kCodeCount ? index : static_cast<size_t>(StatusCode::kUnknown);
}

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

// What one method counts; looked up once per call, not by label.
struct MethodMetrics {
  std::array<prometheus::Counter*, kCodeCount> requests{};
  prometheus::Histogram* duration = nullptr;

  void Count(StatusCode code, std::chrono::nanoseconds time) const {
    requests[CodeIndex(code)]->Increment();
    duration->Observe(Seconds(time));
  }
};

struct StageMetrics {
  prometheus::Histogram* queue = nullptr;
  prometheus::Histogram* search = nullptr;
  prometheus::Histogram* attend = nullptr;
  prometheus::Histogram* engine = nullptr;
};

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>* requests = nullptr;
  prometheus::Family<prometheus::Histogram>* durations = nullptr;
  prometheus::Gauge* in_flight = nullptr;
  StageMetrics stages;
  prometheus::Histogram* covered_mass = nullptr;
  MethodMetrics attend_items;

  std::shared_mutex methods_mutex;
  std::map<std::string, MethodMetrics, std::less<>> methods;

  mutable std::mutex collectable_mutex;
  std::shared_ptr<prometheus::Collectable> collectable;

  MethodMetrics MakeMethod(const std::string& name) {
    MethodMetrics metrics;
    for (size_t i = 0; i < kCodeCount; ++i) {
      metrics.requests[i] = &requests->Add({{"method", name}, {"code", kCodeNames[i]}});
    }
    metrics.duration = &durations->Add({{"method", name}}, CallBuckets());
    return metrics;
  }

  // The reference stays good: nothing is ever removed.
  const MethodMetrics& Method(std::string_view name) {
    {
      const std::shared_lock lock(methods_mutex);
      if (const auto found = methods.find(name); found != methods.end()) return found->second;
    }
    const std::lock_guard lock(methods_mutex);
    const auto found = methods.find(name);
    if (found != methods.end()) return found->second;
    return methods.emplace(name, MakeMethod(std::string(name))).first->second;
  }
};

Metrics::Metrics(std::string_view version, std::string_view build)
    : impl_(std::make_unique<Impl>()) {
  prometheus::Registry& registry = impl_->registry;
  impl_->requests = &prometheus::BuildCounter()
                         .Name("alaya_requests_total")
                         .Help(
                             "Finished requests; items of an Attend stream count one by one as "
                             "method Attend, whole streams as AttendStream.")
                         .Register(registry);
  impl_->durations = &prometheus::BuildHistogram()
                          .Name("alaya_request_duration_seconds")
                          .Help("Time from a request's arrival to its answer.")
                          .Register(registry);
  impl_->in_flight = &prometheus::BuildGauge()
                          .Name("alaya_calls_in_flight")
                          .Help("gRPC calls in progress, open streams included.")
                          .Register(registry)
                          .Add({});
  auto& stages = prometheus::BuildHistogram()
                     .Name("alaya_attend_stage_seconds")
                     .Help(
                         "Time of an attention item by stage: queue, search, attend, and engine "
                         "for all from its arrival at the engine to its answer.")
                     .Register(registry);
  impl_->stages = {.queue = &stages.Add({{"stage", "queue"}}, StageBuckets()),
                   .search = &stages.Add({{"stage", "search"}}, StageBuckets()),
                   .attend = &stages.Add({{"stage", "attend"}}, StageBuckets()),
                   .engine = &stages.Add({{"stage", "engine"}}, StageBuckets())};
  impl_->covered_mass = &prometheus::BuildHistogram()
                             .Name("alaya_covered_mass")
                             .Help(
                                 "Share of the attention mass in the attended tokens, by query "
                                 "head; of items that were asked to explain.")
                             .Register(registry)
                             .Add({}, ShareBuckets());
  impl_->attend_items = impl_->MakeMethod("Attend");
  prometheus::BuildGauge()
      .Name("alaya_build_info")
      .Help("Always 1; the labels name the build.")
      .Register(registry)
      .Add({{"version", std::string(version)}, {"build", std::string(build)}})
      .Set(1);
}

Metrics::~Metrics() = default;

void Metrics::CallStarted() { impl_->in_flight->Increment(); }

void Metrics::CallFinished(std::string_view method, StatusCode code,
                           std::chrono::nanoseconds duration) {
  impl_->in_flight->Decrement();
  impl_->Method(method).Count(code, duration);
}

void Metrics::AttendItemFinished(StatusCode code, std::chrono::nanoseconds duration,
                                 const AttendStats& stats) {
  impl_->attend_items.Count(code, duration);
  if (code != StatusCode::kOk) return;
  constexpr double kMicrosecond = 1e-6;
  impl_->stages.queue->Observe(stats.queue_us * kMicrosecond);
  impl_->stages.search->Observe(stats.search_us * kMicrosecond);
  impl_->stages.attend->Observe(stats.attend_us * kMicrosecond);
  impl_->stages.engine->Observe(stats.engine_us * kMicrosecond);
  for (const float mass : stats.head_covered_mass) impl_->covered_mass->Observe(double{mass});
}

std::vector<AttendStageTimes> Metrics::attend_stages() const {
  const auto times = [](std::string_view stage, const prometheus::Histogram* histogram) {
    const prometheus::ClientMetric::Histogram values = histogram->Collect().histogram;
    AttendStageTimes result = {
        .stage = stage, .items = values.sample_count, .seconds = values.sample_sum, .buckets = {}};
    for (const prometheus::ClientMetric::Bucket& bucket : values.bucket) {
      result.buckets.push_back({bucket.upper_bound, bucket.cumulative_count});
    }
    return result;
  };
  return {times("queue", impl_->stages.queue), times("search", impl_->stages.search),
          times("attend", impl_->stages.attend), times("engine", impl_->stages.engine)};
}

void Metrics::SetCollectable(std::shared_ptr<prometheus::Collectable> collectable) {
  const std::lock_guard lock(impl_->collectable_mutex);
  impl_->collectable = std::move(collectable);
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  {
    // Held while collecting, so that nothing is collected from after its removal.
    const std::lock_guard lock(impl_->collectable_mutex);
    if (impl_->collectable != nullptr) {
      for (prometheus::MetricFamily& family : impl_->collectable->Collect()) {
        families.push_back(std::move(family));
      }
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace alaya
