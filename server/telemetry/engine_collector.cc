#include "server/telemetry/engine_collector.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "prometheus/client_metric.h"
#include "prometheus/metric_type.h"

namespace alaya {
namespace {

// Collects families one by one.
class FamilyList {
 public:
  void Counter(const char* name, const char* help, double value) {
    prometheus::ClientMetric metric;
    metric.counter.value = value;
    Add(name, help, prometheus::MetricType::Counter, {std::move(metric)});
  }
  void Counter(const char* name, const char* help, uint64_t value) {
    Counter(name, help, static_cast<double>(value));
  }
  void Gauge(const char* name, const char* help, double value) {
    prometheus::ClientMetric metric;
    metric.gauge.value = value;
    Add(name, help, prometheus::MetricType::Gauge, {std::move(metric)});
  }
  void Gauge(const char* name, const char* help, uint64_t value) {
    Gauge(name, help, static_cast<double>(value));
  }
  struct LabelValue {
    const char* label;
    uint64_t value;
  };
  void Gauges(const char* name, const char* help, const char* label_name,
              const std::vector<LabelValue>& values) {
    AddLabelled(name, help, prometheus::MetricType::Gauge, label_name, values);
  }
  void Counters(const char* name, const char* help, const char* label_name,
                const std::vector<LabelValue>& values) {
    AddLabelled(name, help, prometheus::MetricType::Counter, label_name, values);
  }

  // One value per class of pages.
  void PageClasses(const char* name, const char* help, prometheus::MetricType type,
                   const PageCacheStats& cache, uint64_t PageCacheStats::OfClass::*value) {
    constexpr const char* kNames[kPageClassCount] = {"key", "value", "query", "token", "index"};
    std::vector<prometheus::ClientMetric> metrics;
    for (size_t i = 0; i < kPageClassCount; ++i) {
      metrics.push_back(Labelled(type, "kind", kNames[i], cache.classes[i].*value));
    }
    Add(name, help, type, std::move(metrics));
  }

  // One value per index kind.
  void IndexGauge(const char* name, const char* help, const ContextStoreStats& store,
                  uint64_t IndexCount::*value) {
    std::vector<prometheus::ClientMetric> metrics;
    for (const IndexKind kind : kBuiltIndexKinds) {
      prometheus::ClientMetric& metric = metrics.emplace_back();
      metric.label.push_back({"kind", std::string(IndexKindName(kind))});
      metric.gauge.value = static_cast<double>(store.indexes[static_cast<size_t>(kind)].*value);
    }
    Add(name, help, prometheus::MetricType::Gauge, std::move(metrics));
  }

  // One series a tenant; those beyond kTenantSeriesMax, by name, add up to "(others)".
  void Tenants(const char* name, const char* help, prometheus::MetricType type,
               const EngineStats& stats,
               const std::function<uint64_t(const TenantAccount&)>& value) {
    constexpr size_t kTenantSeriesMax = 100;
    std::vector<prometheus::ClientMetric> metrics;
    uint64_t others = 0;
    for (size_t i = 0; i < stats.tenants.size(); ++i) {
      const TenantAccount& tenant = *stats.tenants[i];
      if (i >= kTenantSeriesMax) {
        others += value(tenant);
      } else {
        metrics.push_back(Labelled(type, "tenant", tenant.tenant().c_str(), value(tenant)));
      }
    }
    if (stats.tenants.size() > kTenantSeriesMax) {
      metrics.push_back(Labelled(type, "tenant", "(others)", others));
    }
    Add(name, help, type, std::move(metrics));
  }

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  static prometheus::ClientMetric Labelled(prometheus::MetricType type, const char* name,
                                           const char* label, uint64_t value) {
    prometheus::ClientMetric metric;
    metric.label.push_back({name, label});
    (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        static_cast<double>(value);
    return metric;
  }
  void AddLabelled(const char* name, const char* help, prometheus::MetricType type,
                   const char* label_name, const std::vector<LabelValue>& values) {
    std::vector<prometheus::ClientMetric> metrics;
    for (const LabelValue& each : values) {
      metrics.push_back(Labelled(type, label_name, each.label, each.value));
    }
    Add(name, help, type, std::move(metrics));
  }
  void Add(const char* name, const char* help, prometheus::MetricType type,
           std::vector<prometheus::ClientMetric> metrics) {
    families_.push_back({name, help, type, std::move(metrics)});
  }

  std::vector<prometheus::MetricFamily> families_;
};

void AddEngine(const EngineStats& stats, FamilyList* list) {
  list->Gauge("alaya_sessions", "Open sessions.", stats.sessions);
  list->Gauge("alaya_tail_bytes", "Memory of all sessions' tails.", stats.tail_bytes);
  list->Gauge("alaya_attend_items_in_flight", "Attention items admitted and not yet answered.",
              stats.attend_items_in_flight);
  list->Counter("alaya_sessions_expired_total", "Sessions ended because nobody used them.",
                stats.expired_sessions);
  list->Counter("alaya_lookup_tokens_total", "Tokens that prefix lookups asked for.",
                stats.lookup_tokens);
  list->Counter("alaya_hit_tokens_total", "Tokens that prefix lookups found stored.",
                stats.hit_tokens);
  list->Counter("alaya_memory_hit_tokens_total",
                "Of tokens found stored, those in memory up to the first that was not.",
                stats.memory_hit_tokens);
  list->Counter("alaya_attended_tokens_total", "Tokens attended, over query heads and queries.",
                stats.attended_tokens);
  list->Counter("alaya_scored_tokens_total", "Keys scored exactly, over query heads and queries.",
                stats.scored_tokens);
}

void AddTenants(const EngineStats& stats, FamilyList* list) {
  const auto gauge = prometheus::MetricType::Gauge;
  const auto counter = prometheus::MetricType::Counter;
  list->Gauge("alaya_in_flight_bytes",
              "Memory of messages that are not yet answered and of answers not yet written.",
              stats.bytes_in_flight);
  list->Counter("alaya_limit_refused_total",
                "Refused because a limit of all tenants together was reached.",
                stats.refused_by_totals);
  const auto used = [](QuotaKind kind) {
    return [kind](const TenantAccount& tenant) { return tenant.used(kind); };
  };
  list->Tenants("alaya_tenant_sessions", "Open sessions by tenant.", gauge, stats,
                used(QuotaKind::kSessions));
  list->Tenants("alaya_tenant_tail_bytes", "Memory of sessions' tails by tenant.", gauge, stats,
                used(QuotaKind::kTailBytes));
  list->Tenants("alaya_tenant_memory_bytes", "Memory tier that a tenant's pages take.", gauge,
                stats, [&stats](const TenantAccount& tenant) {
                  const auto& owners = stats.store.cache.owners;
                  const auto found = std::ranges::find(owners, tenant.tenant(), &OwnerBytes::owner);
                  return found == owners.end() ? 0 : found->bytes;
                });
  list->Tenants("alaya_tenant_calls_in_flight", "Calls that run, by tenant.", gauge, stats,
                used(QuotaKind::kStreams));
  list->Tenants("alaya_tenant_attend_items_in_flight", "Attention items in flight, by tenant.",
                gauge, stats, used(QuotaKind::kAttendItems));
  list->Tenants("alaya_tenant_in_flight_bytes", "Memory of messages in flight, by tenant.", gauge,
                stats, used(QuotaKind::kBytesInFlight));
  list->Tenants("alaya_tenant_requests_total", "Calls and Attend requests by tenant.", counter,
                stats, &TenantAccount::request_count);
  list->Tenants("alaya_tenant_refused_total", "Refused because a tenant's limit was reached.",
                counter, stats, &TenantAccount::refused_count);
}

void AddContexts(const EngineStats& stats, FamilyList* list) {
  list->Gauge("alaya_contexts", "Stored contexts.", stats.store.contexts);
  list->Counters("alaya_context_evictions_total", "Contexts deleted without being told to.",
                 "reason",
                 {{"quota", stats.store.evicted_contexts}, {"expired", stats.expired_contexts}});
  list->Counters("alaya_segment_merges_total", "Runs of short segments that were to be joined.",
                 "result",
                 {{"joined", stats.segment_merges}, {"failed", stats.failed_segment_merges}});
  list->Counter("alaya_joined_segments_total", "Segments that were joined into longer ones.",
                stats.store.joined_segments);
  list->Counter("alaya_merge_written_bytes_total", "Bytes written to join segments.",
                stats.store.merge_written_bytes);
}

void AddIndexes(const EngineStats& stats, FamilyList* list) {
  list->IndexGauge("alaya_index_segments", "Segments that have an index, by kind.", stats.store,
                   &IndexCount::segments);
  list->IndexGauge("alaya_index_bytes", "Bytes of indexes on disk, by kind.", stats.store,
                   &IndexCount::stored_bytes);
  const IndexBuildStats& builds = stats.index_builds;
  list->Gauge("alaya_index_builds_pending", "Index builds that wait.", builds.pending);
  list->Gauge("alaya_index_builds_running", "Index builds under way.", builds.running);
  list->Counter("alaya_index_builds_done_total", "Indexes built.", builds.done);
  list->Counter("alaya_index_builds_failed_total", "Index builds that failed.", builds.failed);
  list->Counter("alaya_index_damaged_total",
                "Indexes found damaged; their segments are scanned until they are built anew.",
                builds.damaged);
}

void AddTiers(const EngineStats& stats, FamilyList* list) {
  const ContextStoreStats& store = stats.store;
  std::vector<FamilyList::LabelValue> used = {{"memory", store.cache.used_bytes},
                                              {"disk", store.disk_bytes}};
  std::vector<FamilyList::LabelValue> capacity = {
      {"memory", store.cache.capacity_bytes}, {"disk", store.disk_bytes + store.disk_free_bytes}};
  if (stats.device) {
    used.push_back({"gpu", stats.device->used_bytes});
    capacity.push_back({"gpu", stats.device->capacity_bytes});
  }
  list->Gauges("alaya_tier_bytes", "Bytes in use by tier.", "tier", used);
  list->Gauges("alaya_tier_capacity_bytes", "Bytes that a tier can hold.", "tier", capacity);
}

void AddStore(const ContextStoreStats& store, FamilyList* list) {
  const PageCacheStats& cache = store.cache;
  list->Gauge("alaya_models", "Registered models.", store.models);
  list->Gauge("alaya_segments", "Stored segments.", store.segments);
  list->Gauge("alaya_stored_tokens", "Tokens of all segments; shared ones count once.",
              store.stored_tokens);
  list->Gauge("alaya_stored_bytes", "Bytes of all segments.", store.stored_bytes);
  list->Gauges("alaya_disk_mark_bytes", "Marks of the quota on stored bytes; 0: no quota.", "mark",
               {{"high", store.disk_high_water_bytes}, {"low", store.disk_low_water_bytes}});
  list->Gauge("alaya_disk_reserve_bytes", "Free space below which writes stop.",
              store.disk_reserve_bytes);
  list->Gauge("alaya_disk_free_bytes", "Free space of the data directory's file system.",
              store.disk_free_bytes);
  list->Gauge("alaya_pinned_bytes", "Memory of pages in use right now.", cache.pinned_bytes);
  const StoreMemory& memory = store.memory;
  list->Gauges("alaya_store_memory_bytes",
               "What the store takes of memory_budget beside pages: its tables of pages, the "
               "catalog, RocksDB's write buffers and files, buffers for reads.",
               "part",
               {{"page_tables", memory.page_tables},
                {"catalog", memory.catalog},
                {"write_buffers", memory.write_buffers},
                {"files", memory.files},
                {"read_buffers", memory.read_buffers}});
  using OfClass = PageCacheStats::OfClass;
  const auto counter = prometheus::MetricType::Counter;
  const auto gauge = prometheus::MetricType::Gauge;
  list->PageClasses("alaya_page_bytes", "Memory that holds pages.", gauge, cache,
                    &OfClass::used_bytes);
  list->PageClasses("alaya_pages", "Pages in memory.", gauge, cache, &OfClass::page_count);
  list->PageClasses("alaya_page_hits_total", "Page reads that memory answered.", counter, cache,
                    &OfClass::hits);
  list->PageClasses("alaya_page_misses_total", "Page reads that went to disk.", counter, cache,
                    &OfClass::misses);
  list->PageClasses("alaya_page_loaded_bytes_total", "Bytes of pages read from disk.", counter,
                    cache, &OfClass::loaded_bytes);
  list->Counters("alaya_page_evictions_total", "Pages that left memory.", "reason",
                 {{"room", cache.evictions}, {"deleted", cache.dropped_pages}});
  list->Counters("alaya_page_prefetch_total", "Pages read ahead of use; used later; gone without.",
                 "result",
                 {{"loaded", cache.prefetched},
                  {"useful", cache.prefetch_useful},
                  {"wasted", cache.prefetch_wasted}});
  list->Counter("alaya_checksum_failures_total", "Pages that failed their checksum or identity.",
                store.checksum_failures);
  list->Counter("alaya_rocksdb_background_errors_total", "Background errors of RocksDB.",
                store.background_errors);
  list->Gauge("alaya_rocksdb_pending_compaction_bytes", "Bytes that compaction still has to read.",
              store.pending_compaction_bytes);
  list->Gauge("alaya_rocksdb_delayed_write_bytes_per_second",
              "What RocksDB slows writes to; 0: it does not.",
              store.delayed_write_bytes_per_second);
  list->Gauge("alaya_rocksdb_write_stopped", "1 while RocksDB refuses writes.",
              uint64_t{store.write_stopped ? 1U : 0U});
}

// With the tiers of AddStore. Without a device there are no such figures.
void AddDevice(const DeviceStats& device, FamilyList* list) {
  list->Gauge("alaya_gpu_parts", "Layers of segments whose indexes lie on the GPU.",
              device.part_count);
  list->Counters("alaya_gpu_uses_total", "Uses of parts that found them on the GPU, or not.",
                 "result", {{"hit", device.hit_count}, {"miss", device.miss_count}});
  list->Counters("alaya_gpu_moves_total", "Parts that came to the GPU, and that went for others.",
                 "direction",
                 {{"promotion", device.promotion_count}, {"demotion", device.demotion_count}});
  list->Counter("alaya_gpu_requests_total", "Attention items' parts that the GPU took on.",
                device.request_count);
  list->Counter("alaya_gpu_batches_total", "Launches that they shared.", device.batch_count);
  list->Counter("alaya_gpu_failed_requests_total",
                "Requests to the GPU that the CPU had to answer.", device.failure_count);
  list->Counters("alaya_gpu_rows_total", "Rows that queries wanted and the GPU had, or not.",
                 "result",
                 {{"cached", device.cached_row_count}, {"missed", device.missed_row_count}});
  list->Counters("alaya_gpu_built_heads_total",
                 "Heads of fine indexes whose nearest keys the GPU found, or left to the CPU.",
                 "by", {{"gpu", device.found_head_count}, {"cpu", device.left_head_count}});
  list->Gauge("alaya_gpu_lost", "1 after the GPU failed: the CPU answers until the next start.",
              uint64_t{device.status.ok() ? 0U : 1U});
}

void AddConnections(const ConnectionFigures& figures, FamilyList* list) {
  list->Counter("alaya_connections_accepted_total", "Connections that were let in.",
                figures.accepted);
  list->Counters("alaya_connections_refused_total", "Connections that were closed at once.",
                 "reason",
                 {{"open_files", figures.refused_for_files}, {"user", figures.refused_users}});
  list->Counter("alaya_accept_failures_total",
                "Connections that the system could not give; each was followed by a wait.",
                figures.failed_accepts);
  if (!figures.certificate_end) return;
  const std::chrono::duration<double> since_epoch = figures.certificate_end->time_since_epoch();
  list->Gauge("alaya_tls_certificate_not_after_timestamp_seconds",
              "When the server's certificate ends, since the Unix epoch.", since_epoch.count());
}

void AddProcess(const ProcessStats& process, WallTime start_time, FamilyList* list) {
  list->Gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
  list->Counter("process_cpu_seconds_total", "User and system time.", process.cpu_seconds);
  list->Gauge("process_open_fds", "Open file descriptors.", process.open_files);
  list->Gauge("process_max_fds", "Most file descriptors that may be open.", process.open_files_max);
  const std::chrono::duration<double> since_epoch = start_time.time_since_epoch();
  list->Gauge("process_start_time_seconds", "Start time since the Unix epoch.",
              since_epoch.count());
}

}  // namespace

EngineCollector::EngineCollector(std::function<EngineStats()> engine_stats,
                                 std::function<ConnectionFigures()> connections,
                                 std::function<ProcessStats()> process_stats, WallTime start_time)
    : engine_stats_(std::move(engine_stats)),
      connections_(std::move(connections)),
      process_stats_(std::move(process_stats)),
      start_time_(start_time) {}

std::vector<prometheus::MetricFamily> EngineCollector::Collect() const {
  FamilyList list;
  const EngineStats stats = engine_stats_();
  AddEngine(stats, &list);
  AddTenants(stats, &list);
  AddContexts(stats, &list);
  AddTiers(stats, &list);
  AddStore(stats.store, &list);
  if (stats.device) AddDevice(*stats.device, &list);
  AddIndexes(stats, &list);
  AddConnections(connections_(), &list);
  AddProcess(process_stats_(), start_time_, &list);
  return list.Take();
}

}  // namespace alaya
