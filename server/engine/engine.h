// The database without its transport: models, contexts, sessions and attention over
// them. Joins storage with index; knows no gRPC.
//
// Life: Open -> calls from any thread -> Drain -> destruction.
//
// Every name, shape, size and number that comes from outside is checked here; a call
// that returns an error has changed nothing. Methods may read from disk and block,
// unless they say otherwise: call them from a worker thread, never from a gRPC
// callback.

#ifndef ALAYA_SERVER_ENGINE_ENGINE_H_
#define ALAYA_SERVER_ENGINE_ENGINE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/attention/attention_device.h"
#include "index/attention/backend.h"
#include "server/engine/attend_types.h"
#include "server/engine/index_options.h"
#include "server/engine/machine_costs.h"
#include "server/engine/tenant_quota.h"
#include "storage/context/context_store.h"

namespace alaya {

// Time from outside, so that tests can replace it.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime now() const = 0;
  // Never jumps: what durations within one process are measured with.
  virtual std::chrono::steady_clock::time_point steady_now() const {
    return std::chrono::steady_clock::now();
  }
};
class SystemClock : public Clock {
 public:
  WallTime now() const override;
};

// Limits on requests; a request beyond one is refused and names it.
struct EngineLimits {
  uint64_t max_context_tokens = 4'000'000;
  uint32_t max_queries_per_item = 4096;
  uint32_t max_sessions = 4096;
  uint64_t max_tail_tokens_per_session = 1'000'000;
  uint64_t max_tail_bytes_total = uint64_t{4} << 30;
  // A session that nobody uses for so long ends; 0: never.
  std::chrono::milliseconds session_idle_timeout{3'600'000};
};

struct EngineOptions {
  uint32_t worker_count = 0;  // threads that compute attention; 0: one per core
  EngineLimits limits;
  TenantLimitsTable tenant_limits;  // until SetTenantLimits
  // Of expired contexts and unused sessions; > 0.
  std::chrono::milliseconds expiry_sweep_interval{1000};
  IndexOptions indexes;
  // 64 random bits per call, for session and context ids; null: the system's entropy.
  std::function<uint64_t()> random_bits;
  std::optional<MachineCosts> costs;  // none: measured when the engine opens
};

using Deadline = std::chrono::steady_clock::time_point;  // max(): none

struct ImportHeader {
  std::string tenant;
  std::string model;
  std::vector<TokenId> tokens;
  std::optional<std::string> context_id;
  Labels labels;
  std::optional<std::chrono::milliseconds> ttl;
  // Indexes to build over the tokens that the import adds; kExact alone: none. Empty:
  // the server's choice.
  std::vector<IndexKind> index_kinds;
};

struct ImportChunk {
  LayerIndex layer{};
  uint64_t token_begin = 0;
  TensorView key;
  TensorView value;
  std::optional<TensorView> query;
};

struct ImportResult {
  std::string context_id;
  uint64_t reused_tokens = 0;
  uint64_t stored_bytes = 0;
};

// One ImportContext call. Not thread-safe; destruction before Finish discards it.
class ContextImport {
 public:
  virtual ~ContextImport() = default;
  virtual Status AddChunk(const ImportChunk& chunk) = 0;
  virtual StatusOr<ImportResult> Finish() = 0;
};

struct SessionInfo {
  std::string session_id;
  std::string model;
  std::string context_id;  // empty: none
  uint64_t reused_tokens = 0;
  uint64_t tail_tokens = 0;
  uint64_t tail_bytes = 0;
  WallTime create_time;
  WallTime last_use_time;
};

struct CreateSessionParams {
  std::string tenant;
  std::string model;
  std::vector<TokenId> tokens;  // or
  std::string context_id;
  std::optional<uint64_t> reuse_limit;
};

struct StoreSessionParams {
  std::string tenant;
  std::string session_id;
  std::vector<TokenId> tokens;
  std::optional<std::string> context_id;
  Labels labels;
  std::optional<std::chrono::milliseconds> ttl;
};

struct UpdateContextParams {
  std::string tenant;
  std::string context_id;
  std::optional<bool> pinned;
  std::optional<std::chrono::milliseconds> ttl;  // from now; 0 removes the expiry
  std::optional<Labels> labels;
};

struct SearchParams {
  std::string tenant;
  std::string context_id;
  LayerIndex layer{};
  TensorView query;
  Target target;  // DiprTarget or TopKTarget
  std::optional<TokenRange> token_range;
  std::optional<double> scale;
};
struct SearchHit {
  uint64_t token = 0;
  float score = 0;
};
struct SearchAnswer {
  std::vector<std::vector<SearchHit>> heads;  // [T * Hq], by falling score
  AttendStats stats;
};

// Keys and values of tokens [token_begin, token_begin + tokens) of one layer, each
// [tokens, num_kv_heads, head_dim] in the model's dtype.
struct ReadChunk {
  LayerIndex layer{};
  uint64_t token_begin = 0;
  uint64_t tokens = 0;
  std::span<const std::byte> keys;
  std::span<const std::byte> values;
  std::shared_ptr<const void> memory;  // in which both lie
};

// One reading of a stored context. Destruction waits for reads that are under way.
// Threads: one at a time.
class ContextReading {
 public:
  virtual ~ContextReading() = default;

  // What the memory of a chunk takes at most; about 1 MiB.
  virtual uint64_t chunk_bytes_max() const = 0;
  // From now on so many chunks are brought from disk ahead of the one that Next returns;
  // at first none is.
  virtual void ReadAhead(size_t chunk_count) = 0;
  // The next chunk: layers in the order asked for, tokens rising; none at the end. Waits for
  // the disk. Errors: DataLoss for a damaged page; Unavailable once the engine drains.
  virtual StatusOr<std::optional<ReadChunk>> Next() = 0;
};

struct EngineStats {
  ContextStoreStats store;
  uint64_t sessions = 0;
  uint64_t tail_bytes = 0;
  uint64_t lookup_tokens = 0;  // asked for in prefix lookups
  uint64_t hit_tokens = 0;     // found
  // Of those, tokens in memory up to the first that was not, when a session began.
  uint64_t memory_hit_tokens = 0;
  uint64_t attend_items_in_flight = 0;
  uint64_t attended_tokens = 0;
  uint64_t scored_tokens = 0;
  uint64_t expired_contexts = 0;  // deleted by the expiry sweep
  uint64_t failed_sweeps = 0;     // expiry sweeps that the store refused
  uint64_t expired_sessions = 0;  // ended because nobody used them
  IndexBuildStats index_builds;
  std::vector<std::shared_ptr<TenantAccount>> tenants;  // by name; their counters go on
  uint64_t bytes_in_flight = 0;                         // of all tenants
  uint64_t refused_by_totals = 0;                       // for a limit of all tenants
  uint64_t segment_merges = 0;                          // runs of segments joined since the start
  uint64_t failed_segment_merges = 0;
  std::optional<DeviceStats> device;  // none: there is no device
};

class Engine {
 public:
  // `store`, `backend`, `clock` and `device`, which may be null, must outlive the engine.
  static StatusOr<std::unique_ptr<Engine>> Open(EngineOptions options, ContextStore* store,
                                                AttentionBackend* backend, const Clock* clock,
                                                AttentionDevice* device = nullptr);
  virtual ~Engine() = default;

  virtual StatusOr<bool> RegisterModel(const Model& model) = 0;
  virtual std::vector<Model> ListModels() const = 0;

  virtual StatusOr<std::unique_ptr<ContextImport>> BeginImport(ImportHeader header) = 0;
  struct MatchAnswer {
    std::string context_id;
    uint64_t matched_tokens = 0;
  };
  virtual StatusOr<MatchAnswer> MatchContext(std::string_view tenant, std::string_view model,
                                             std::span<const TokenId> tokens) = 0;
  virtual StatusOr<std::shared_ptr<const StoredContext>> GetContext(std::string_view tenant,
                                                                    std::string_view id) = 0;
  // All tokens of a context.
  virtual StatusOr<std::vector<TokenId>> ReadTokens(const StoredContext& context) = 0;
  virtual StatusOr<std::vector<std::shared_ptr<const StoredContext>>> ListContexts(
      const ContextFilter& filter, std::string_view after_id, size_t limit) = 0;
  virtual StatusOr<std::shared_ptr<const StoredContext>> UpdateContext(
      const UpdateContextParams& params) = 0;
  virtual StatusOr<uint64_t> DeleteContext(std::string_view tenant, std::string_view id) = 0;
  virtual StatusOr<SearchAnswer> SearchContext(const SearchParams& params) = 0;
  // Reads keys and values back; no layers: all, rising. The context may be deleted meanwhile.
  // A range that reaches beyond the context ends with it.
  // Errors: InvalidArgument for a range or layer that cannot be.
  virtual StatusOr<std::unique_ptr<ContextReading>> ReadContext(
      std::string_view tenant, std::string_view id, std::optional<TokenRange> range,
      std::span<const uint32_t> layers) = 0;

  virtual StatusOr<SessionInfo> CreateSession(const CreateSessionParams& params) = 0;
  // Queues an item and returns at once; never blocks, fit for a gRPC callback.
  // `done` runs exactly once, on a worker thread. Items of one session run, and are
  // answered, in the order of the calls. An item whose deadline passes or that
  // `cancelled` reports before it starts answers DeadlineExceeded or Cancelled; one that
  // comes while as many wait as may, of its tenant or of all, or so many that it would hardly be
  // done by its deadline, answers ResourceExhausted. `done` must not wait for other calls on the
  // session: they wait for `done`.
  virtual void Attend(AttendItem item, Deadline deadline, std::function<bool()> cancelled,
                      std::function<void(AttendResult)> done) = 0;
  virtual StatusOr<ImportResult> StoreSession(const StoreSessionParams& params) = 0;
  virtual StatusOr<std::string> ForkSession(std::string_view tenant, std::string_view id) = 0;
  virtual Status TruncateSession(std::string_view tenant, std::string_view id,
                                 uint64_t token_count) = 0;
  // Answers when items under way are done and the session's memory is free. Items on
  // their way get FailedPrecondition.
  virtual Status CloseSession(std::string_view tenant, std::string_view id) = 0;
  virtual StatusOr<SessionInfo> GetSession(std::string_view tenant, std::string_view id) = 0;
  virtual std::vector<SessionInfo> ListSessions(std::string_view tenant, std::string_view after_id,
                                                size_t limit) = 0;

  virtual StatusOr<uint64_t> CreateBackup(const std::string& directory) = 0;
  virtual StatusOr<uint64_t> CompactStorage() = 0;

  // Refuses new work with Unavailable and waits until what was admitted is answered.
  virtual void Drain() = 0;

  virtual EngineStats stats() const = 0;
  // As ContextStore's.
  virtual StoreUsage usage() const = 0;
  virtual const EngineLimits& limits() const = 0;
  // Takes effect at once; what was taken stays taken. Threads: any.
  virtual void SetTenantLimits(TenantLimitsTable limits) = 0;
  // What tenants take and may take. Sessions, their memory and stored bytes are counted
  // here; calls, their rate and their messages are the caller's to count.
  virtual TenantQuota& tenants() = 0;
  virtual std::vector<const AttentionBackend*> backends() const = 0;
  virtual const AttentionDevice* device() const = 0;  // null: none
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ENGINE_H_
