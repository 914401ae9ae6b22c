#include "server/rpc/convert_admin_service.h"

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "server/engine/request_checks.h"
#include "server/rpc/convert_fields.h"
#include "server/rpc/convert_tensor.h"
#include "server/rpc/status_details.h"

namespace alaya {
namespace {

constexpr size_t kPathBytesMax = 4000;

}  // namespace

StatusOr<Model> FromProto(const v1::RegisterModelRequest& request) {
  const v1::Model& proto = request.model();
  Model model{.name = {},
              .num_layers = proto.num_layers(),
              .num_query_heads = proto.num_query_heads(),
              .num_kv_heads = proto.num_kv_heads(),
              .head_dim = proto.head_dim()};
  ALAYA_ASSIGN_OR_RETURN(model.name, ModelNameFromProto(proto.name(), {"name", "model"}));
  ALAYA_ASSIGN_OR_RETURN(model.dtype, FromProto(proto.dtype(), {"dtype", "model"}));
  if (const Status shape = CheckModel(model); !shape.ok()) {
    return RequestError("MODEL_SHAPE", {"model"}, Message(shape));
  }
  return model;
}

void ToProto(const Model& model, v1::Model* proto) {
  proto->set_name(model.name);
  proto->set_num_layers(model.num_layers);
  proto->set_num_query_heads(model.num_query_heads);
  proto->set_num_kv_heads(model.num_kv_heads);
  proto->set_head_dim(model.head_dim);
  proto->set_dtype(ToProto(model.dtype));
}

StatusOr<std::string> FromProto(const v1::CreateBackupRequest& proto) {
  const std::string& directory = proto.directory();
  const bool sane = directory.size() <= kPathBytesMax && directory.find('\0') == std::string::npos;
  if (!sane || !std::filesystem::path(directory).is_absolute()) {
    return RequestError("PATH_FORMAT", {"directory"},
                        "it must be an absolute path of at most 4000 bytes");
  }
  return directory;
}

StatusOr<v1::LogLevel> FromProto(const v1::SetLogLevelRequest& proto) {
  if (proto.level() == v1::LOG_LEVEL_UNSPECIFIED || !v1::LogLevel_IsValid(proto.level())) {
    return RequestError("LOG_LEVEL_UNKNOWN", {"level"},
                        std::to_string(static_cast<int>(proto.level())) +
                            ", allowed are LOG_LEVEL_TRACE to LOG_LEVEL_ERROR");
  }
  return proto.level();
}

void ToProto(const RpcOptions& options, const EngineLimits& limits, const TenantLimits& all,
             v1::Limits* proto) {
  proto->set_max_context_tokens(limits.max_context_tokens);
  proto->set_max_message_bytes(options.max_message_bytes);
  proto->set_max_items_per_request(options.max_items_per_request);
  proto->set_max_queries_per_item(limits.max_queries_per_item);
  proto->set_max_sessions(limits.max_sessions);
  proto->set_max_requests_in_flight_per_stream(options.max_requests_in_flight_per_stream);
  proto->set_max_tail_tokens_per_session(limits.max_tail_tokens_per_session);
  proto->set_max_tail_bytes_total(limits.max_tail_bytes_total);
  const int64_t idle_ms = limits.session_idle_timeout.count();
  proto->mutable_session_idle_timeout()->set_seconds(idle_ms / 1000);
  proto->mutable_session_idle_timeout()->set_nanos(
      static_cast<int32_t>(idle_ms % 1000 * 1'000'000));
  proto->set_max_streams(all.max_streams);
  proto->set_max_attend_items_in_flight(all.max_attend_items_in_flight);
  proto->set_max_bytes_in_flight(all.max_bytes_in_flight);
  proto->set_max_requests_per_second(all.max_requests_per_second);
}

void ToProto(const TenantLimits& limits, v1::TenantLimits* proto) {
  proto->set_max_stored_bytes(limits.max_stored_bytes);
  proto->set_max_memory_bytes(limits.max_memory_bytes);
  proto->set_max_tail_bytes(limits.max_tail_bytes);
  proto->set_max_sessions(limits.max_sessions);
  proto->set_max_streams(limits.max_streams);
  proto->set_max_attend_items_in_flight(limits.max_attend_items_in_flight);
  proto->set_max_bytes_in_flight(limits.max_bytes_in_flight);
  proto->set_max_requests_per_second(limits.max_requests_per_second);
}

void ToProto(const EngineStats& stats, v1::GetStatsResponse* proto) {
  const ContextStoreStats& store = stats.store;
  v1::TierStats* memory = proto->add_tiers();
  memory->set_tier(v1::TIER_MEMORY);
  memory->set_used_bytes(store.cache.used_bytes);
  memory->set_capacity_bytes(store.cache.capacity_bytes);
  memory->set_hits(store.cache.hits);
  memory->set_misses(store.cache.misses);
  memory->set_evictions(store.cache.evictions);
  memory->set_pinned_bytes(store.cache.pinned_bytes);
  for (const PageCacheStats::OfClass& counts : store.cache.classes) {
    memory->set_loaded_bytes(memory->loaded_bytes() + counts.loaded_bytes);
  }
  v1::TierStats* disk = proto->add_tiers();
  disk->set_tier(v1::TIER_DISK);
  disk->set_used_bytes(store.disk_bytes);
  disk->set_capacity_bytes(store.disk_bytes + store.disk_free_bytes);
  // Whatever memory misses, the disk answers.
  disk->set_hits(store.cache.misses);
  if (stats.device) {
    v1::TierStats* gpu = proto->add_tiers();
    gpu->set_tier(v1::TIER_GPU);
    gpu->set_used_bytes(stats.device->used_bytes);
    gpu->set_capacity_bytes(stats.device->capacity_bytes);
    gpu->set_hits(stats.device->hit_count);
    gpu->set_misses(stats.device->miss_count);
    gpu->set_evictions(stats.device->demotion_count);
  }
  v1::IndexStats* exact = proto->add_indexes();
  exact->set_kind(v1::INDEX_KIND_EXACT);
  exact->set_segments(store.segments);
  for (const IndexKind kind : kBuiltIndexKinds) {
    const IndexCount& count = store.indexes[static_cast<size_t>(kind)];
    v1::IndexStats* index = proto->add_indexes();
    index->set_kind(static_cast<v1::IndexKind>(kind));
    index->set_segments(count.segments);
    index->set_bytes(count.stored_bytes);
  }
  v1::IndexBuildStats* builds = proto->mutable_index_builds();
  builds->set_pending(stats.index_builds.pending);
  builds->set_running(stats.index_builds.running);
  builds->set_done(stats.index_builds.done);
  builds->set_failed(stats.index_builds.failed);
  builds->set_damaged(stats.index_builds.damaged);
  proto->set_models(store.models);
  proto->set_contexts(store.contexts);
  proto->set_segments(store.segments);
  proto->set_stored_tokens(store.stored_tokens);
  proto->set_sessions(stats.sessions);
  proto->set_tail_bytes(stats.tail_bytes);
  proto->set_lookup_tokens(stats.lookup_tokens);
  proto->set_hit_tokens(stats.hit_tokens);
  proto->set_memory_hit_tokens(stats.memory_hit_tokens);
  proto->set_evicted_contexts(store.evicted_contexts);
}

void ToProto(const StoreUsage& usage, v1::GetStatsResponse* proto) {
  for (const ModelUsage& model : usage.models) {
    v1::ModelUsage* one = proto->add_model_usage();
    one->set_model(model.model);
    one->set_contexts(model.contexts);
    one->set_segments(model.segments);
    one->set_stored_tokens(model.stored_tokens);
    one->set_stored_bytes(model.stored_bytes);
  }
  for (const LabelUsage& label : usage.labels) {
    v1::LabelUsage* one = proto->add_label_usage();
    one->set_key(label.key);
    one->set_value(label.value);
    one->set_contexts(label.contexts);
    one->set_stored_bytes(label.stored_bytes);
  }
  proto->set_label_usage_left_out(usage.labels_left_out);
}

void ToProto(const AttendStageTimes& times, v1::AttendStageStats* proto) {
  proto->set_stage(std::string(times.stage));
  proto->set_items(times.items);
  proto->set_seconds(times.seconds);
  for (const AttendStageTimes::Bucket& bucket : times.buckets) {
    proto->add_bucket_upper_seconds(bucket.upper_seconds);
    proto->add_bucket_items(bucket.items);
  }
}

}  // namespace alaya
