#include "server/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "server/engine/admission.h"
#include "server/engine/attend_queue.h"
#include "server/engine/attend_runner.h"
#include "server/engine/context_catalog.h"
#include "server/engine/context_import.h"
#include "server/engine/context_reader.h"
#include "server/engine/context_search.h"
#include "server/engine/expiry_sweeper.h"
#include "server/engine/index_builder.h"
#include "server/engine/index_table.h"
#include "server/engine/new_context.h"
#include "server/engine/planner.h"
#include "server/engine/prefetch.h"
#include "server/engine/random_ids.h"
#include "server/engine/request_checks.h"
#include "server/engine/segment_merger.h"
#include "server/engine/session.h"
#include "server/engine/session_storing.h"
#include "server/engine/session_table.h"
#include "server/engine/tail_budget.h"
#include "server/engine/worker_pool.h"

namespace alaya {
namespace {

// Threads, beside a worker, for the heads of an item whose context is on disk: they mostly wait,
// and two at a time leave the disk idle in between.
constexpr size_t kDiskWaitersPerWorker = 2;

size_t WorkerCount(uint32_t configured) {
  if (configured > 0) return configured;
  return std::max<size_t>(1, std::thread::hardware_concurrency());
}

OwnerLimits MemoryLimits(const TenantLimitsTable& tenants) {
  OwnerLimits limits{.others = tenants.others.max_memory_bytes};
  for (const auto& [tenant, own] : tenants.named) limits.named[tenant] = own.max_memory_bytes;
  return limits;
}

IndexOptions WithDevice(IndexOptions options, AttentionDevice* device) {
  if (device != nullptr) options.nearest_keys = device->nearest_keys();
  return options;
}

// Keeps every caller's door and hands the work to the parts. Each call holds a ticket
// while it runs.
class StandardEngine final : public Engine {
 public:
  StandardEngine(EngineOptions options, MachineCosts costs, ContextStore* store,
                 AttentionBackend* backend, const Clock* clock, AttentionDevice* device)
      : options_(std::move(options)),
        store_(store),
        backend_(backend),
        device_(device),
        clock_(clock),
        ids_(options_.random_bits),
        index_builder_(store, WithDevice(options_.indexes, device)),
        indexes_(store, options_.indexes.kinds,
                 [this](SegmentId segment, IndexKind kind, const Status& status) {
                   index_builder_.Rebuild(segment, kind, status);
                 }),
        tenants_(options_.tenant_limits),
        tail_budgets_(options_.limits.max_tail_bytes_total),
        catalog_(store, clock),
        planner_(costs),
        sessions_(options_.limits.max_sessions, clock),
        attend_queue_(&admission_, &sessions_,
                      AttendRunner(store, backend, &planner_, &pool_, options_.limits, &indexes_,
                                   device, &disk_pool_),
                      clock, &pool_, &tenants_),
        disk_pool_("disk-waiter", kDiskWaitersPerWorker * WorkerCount(options_.worker_count)),
        pool_("worker", WorkerCount(options_.worker_count)),
        sweeper_(store, &sessions_, clock, options_.expiry_sweep_interval,
                 options_.limits.session_idle_timeout),
        segment_merger_(store, &index_builder_) {
    store_->SetMemoryLimits(MemoryLimits(options_.tenant_limits));
    index_builder_.EnqueueAll();
  }
  ~StandardEngine() override { Drain(); }

  StatusOr<bool> RegisterModel(const Model& model) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    ALAYA_RETURN_IF_ERROR(CheckModel(model));
    return store_->RegisterModel(model);
  }
  std::vector<Model> ListModels() const override;

  StatusOr<std::unique_ptr<ContextImport>> BeginImport(ImportHeader header) override;
  StatusOr<MatchAnswer> MatchContext(std::string_view tenant, std::string_view model,
                                     std::span<const TokenId> tokens) override;
  StatusOr<std::shared_ptr<const StoredContext>> GetContext(std::string_view tenant,
                                                            std::string_view id) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    return catalog_.FindContext(tenant, id);
  }
  StatusOr<std::vector<TokenId>> ReadTokens(const StoredContext& context) override {
    return store_->ReadTokens(context.chain, {0, context.token_count()});
  }
  StatusOr<std::vector<std::shared_ptr<const StoredContext>>> ListContexts(
      const ContextFilter& filter, std::string_view after_id, size_t limit) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    if (filter.model) ALAYA_RETURN_IF_ERROR(catalog_.FindModel(*filter.model).status());
    return store_->ListContexts(filter, after_id, limit);
  }
  StatusOr<std::shared_ptr<const StoredContext>> UpdateContext(
      const UpdateContextParams& params) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    return catalog_.Update(params);
  }
  StatusOr<uint64_t> DeleteContext(std::string_view tenant, std::string_view id) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    return catalog_.Delete(tenant, id);
  }
  StatusOr<SearchAnswer> SearchContext(const SearchParams& params) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    ALAYA_ASSIGN_OR_RETURN(const auto context,
                           catalog_.FindContext(params.tenant, params.context_id));
    return SearchStoredContext({store_, &indexes_, &pool_}, options_.limits, *context, params);
  }
  StatusOr<std::unique_ptr<ContextReading>> ReadContext(std::string_view tenant,
                                                        std::string_view id,
                                                        std::optional<TokenRange> range,
                                                        std::span<const uint32_t> layers) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    ALAYA_ASSIGN_OR_RETURN(auto context, catalog_.FindContext(tenant, id));
    return BeginReading(store_, &admission_, std::move(context), range, layers);
  }

  StatusOr<SessionInfo> CreateSession(const CreateSessionParams& params) override;
  void Attend(AttendItem item, Deadline deadline, std::function<bool()> cancelled,
              std::function<void(AttendResult)> done) override {
    attend_queue_.Attend(std::move(item), deadline, std::move(cancelled), std::move(done));
  }
  StatusOr<ImportResult> StoreSession(const StoreSessionParams& params) override;
  StatusOr<std::string> ForkSession(std::string_view tenant, std::string_view id) override;
  Status TruncateSession(std::string_view tenant, std::string_view id,
                         uint64_t token_count) override;
  Status CloseSession(std::string_view tenant, std::string_view id) override {
    // Closing is no new work: it goes on while the engine drains.
    ALAYA_ASSIGN_OR_RETURN(const auto session, sessions_.Remove(tenant, id));
    // Whoever found the session before may hold it for a while: not its memory.
    session->strand().Run([&] { session->Close(); });
    return OkStatus();
  }
  StatusOr<SessionInfo> GetSession(std::string_view tenant, std::string_view id) override {
    ALAYA_ASSIGN_OR_RETURN(const auto session, sessions_.Find(tenant, id));
    return session->info();
  }
  std::vector<SessionInfo> ListSessions(std::string_view tenant, std::string_view after_id,
                                        size_t limit) override;

  StatusOr<uint64_t> CreateBackup(const std::string& directory) override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    return store_->CreateBackup(directory);
  }
  StatusOr<uint64_t> CompactStorage() override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
    return store_->Compact();
  }

  void Drain() override {
    admission_.Close();
    admission_.WaitUntilEmpty();
    // What is not done is built after the next start.
    index_builder_.Stop();
  }

  EngineStats stats() const override;
  StoreUsage usage() const override { return store_->usage(); }
  const EngineLimits& limits() const override { return options_.limits; }
  void SetTenantLimits(TenantLimitsTable limits) override {
    store_->SetMemoryLimits(MemoryLimits(limits));
    tenants_.SetLimits(std::move(limits));
  }
  TenantQuota& tenants() override { return tenants_; }
  std::vector<const AttentionBackend*> backends() const override { return {backend_}; }
  const AttentionDevice* device() const override { return device_; }

 private:
  // The prefix that a new session starts from, and the model.
  struct SessionStart {
    std::shared_ptr<const RegisteredModel> model;
    SessionPrefix prefix;
  };
  StatusOr<SessionStart> FindSessionStart(const CreateSessionParams& params);
  NewContextTools writing_tools() {
    return {store_, clock_, &ids_, &index_builder_, &segment_merger_, &tenants_};
  }
  // On the session's strand.
  StatusOr<ImportResult> StoreOpenSession(const StoreSessionParams& params, Session* session);

  const EngineOptions options_;
  ContextStore* const store_;
  AttentionBackend* const backend_;
  AttentionDevice* const device_;
  const Clock* const clock_;
  RandomIds ids_;
  IndexBuilder index_builder_;
  IndexTable indexes_;
  Admission admission_;
  TenantQuota tenants_;
  TailBudgets tail_budgets_;
  ContextCatalog catalog_;
  Planner planner_;
  SessionTable sessions_;
  AttendQueue attend_queue_;
  WorkerPool disk_pool_;
  // After all that its tasks use, so that it ends first.
  WorkerPool pool_;
  ExpirySweeper sweeper_;
  SegmentMerger segment_merger_;
};

std::vector<Model> StandardEngine::ListModels() const {
  std::vector<Model> models;
  for (const auto& registered : store_->ListModels()) models.push_back(registered->model);
  std::sort(models.begin(), models.end(),
            [](const Model& a, const Model& b) { return a.name < b.name; });
  return models;
}

StatusOr<std::unique_ptr<ContextImport>> StandardEngine::BeginImport(ImportHeader header) {
  ALAYA_ASSIGN_OR_RETURN(Admission::Ticket ticket, admission_.Enter());
  ALAYA_ASSIGN_OR_RETURN(const auto model, catalog_.FindModel(header.model));
  NewContextRequest request{std::move(header.tenant),     model,
                            std::move(header.tokens),     std::move(header.context_id),
                            std::move(header.labels),     header.ttl,
                            std::move(header.index_kinds)};
  ALAYA_RETURN_IF_ERROR(NewContext::Check(request, options_.limits.max_context_tokens));
  // Holding the matched segments keeps them from being deleted under the import.
  ALAYA_ASSIGN_OR_RETURN(
      const PrefixMatch match,
      store_->MatchPrefix(request.tenant, model->id, request.tokens, clock_->now()));
  std::vector<SegmentLink> prefix;
  if (match.context) prefix = ChainPrefix(match.context->chain, match.matched_tokens);
  ALAYA_ASSIGN_OR_RETURN(auto context,
                         NewContext::Begin(std::move(request), std::move(prefix), writing_tools()));
  return std::make_unique<CheckedImport>(std::move(ticket), model, std::move(context));
}

StatusOr<Engine::MatchAnswer> StandardEngine::MatchContext(std::string_view tenant,
                                                           std::string_view model,
                                                           std::span<const TokenId> tokens) {
  ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
  ALAYA_ASSIGN_OR_RETURN(const auto registered, catalog_.FindModel(model));
  ALAYA_ASSIGN_OR_RETURN(const PrefixMatch match, catalog_.Match(tenant, registered->id, tokens));
  if (!match.context) return MatchAnswer();
  return MatchAnswer{match.context->id, match.matched_tokens};
}

StatusOr<StandardEngine::SessionStart> StandardEngine::FindSessionStart(
    const CreateSessionParams& params) {
  SessionStart start;
  std::shared_ptr<const StoredContext> context;
  uint64_t reused_tokens = 0;
  if (!params.model.empty() || params.context_id.empty()) {
    ALAYA_ASSIGN_OR_RETURN(start.model, catalog_.FindModel(params.model));
  }
  if (!params.context_id.empty()) {
    if (!params.tokens.empty()) {
      return InvalidArgument("tokens and context_id are both set: one of them");
    }
    ALAYA_ASSIGN_OR_RETURN(context, catalog_.FindContext(params.tenant, params.context_id));
    if (start.model && start.model->id != context->model->id) {
      return InvalidArgument(fmt::format("model '{}': context '{}' is of model '{}'", params.model,
                                         context->id, context->model->model.name));
    }
    start.model = context->model;
    reused_tokens = context->token_count();
  } else {
    ALAYA_ASSIGN_OR_RETURN(const PrefixMatch match,
                           catalog_.Match(params.tenant, start.model->id, params.tokens));
    context = match.context;
    reused_tokens = match.matched_tokens;
  }
  reused_tokens = std::min(reused_tokens, params.reuse_limit.value_or(reused_tokens));
  if (reused_tokens > 0) {
    start.prefix = {context->id, ChainPrefix(context->chain, reused_tokens)};
  }
  return start;
}

StatusOr<SessionInfo> StandardEngine::CreateSession(const CreateSessionParams& params) {
  ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
  ALAYA_ASSIGN_OR_RETURN(SessionStart start, FindSessionStart(params));
  if (params.context_id.empty()) catalog_.CountMemoryHit(start.prefix.chain);
  PrefetchSession(store_, start.prefix.chain);
  const auto account = tenants_.AccountOf(params.tenant);
  ALAYA_ASSIGN_OR_RETURN(TenantAccount::Share share,
                         TenantAccount::TakeShare(account, QuotaKind::kSessions, 1));
  Tail tail(start.model->model, tail_budgets_.Of(account), options_.indexes.tail_min_tokens);
  const auto session =
      std::make_shared<Session>(SessionOwner{ids_.Next(), account, start.model, clock_->now()},
                                std::move(start.prefix), std::move(tail), &pool_);
  session->Hold(std::move(share));
  ALAYA_RETURN_IF_ERROR(sessions_.Insert(session));
  return session->info();
}

StatusOr<ImportResult> StandardEngine::StoreOpenSession(const StoreSessionParams& params,
                                                        Session* session) {
  ALAYA_RETURN_IF_ERROR(session->CheckOpen());
  return StoreSessionAsContext(params, writing_tools(), options_.limits, session);
}

StatusOr<ImportResult> StandardEngine::StoreSession(const StoreSessionParams& params) {
  ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
  ALAYA_ASSIGN_OR_RETURN(const auto session, sessions_.Find(params.tenant, params.session_id));
  StatusOr<ImportResult> result;
  session->strand().Run([&] {
    result = StoreOpenSession(params, session.get());
    session->Publish(clock_->now());
  });
  return result;
}

StatusOr<std::string> StandardEngine::ForkSession(std::string_view tenant, std::string_view id) {
  ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
  ALAYA_ASSIGN_OR_RETURN(const auto session, sessions_.Find(tenant, id));
  ALAYA_ASSIGN_OR_RETURN(TenantAccount::Share share,
                         TenantAccount::TakeShare(session->account(), QuotaKind::kSessions, 1));
  Status status;
  std::shared_ptr<Session> fork;
  session->strand().Run([&] {
    status = session->CheckOpen();
    if (status.ok()) fork = session->Fork(ids_.Next(), clock_->now(), &pool_);
  });
  ALAYA_RETURN_IF_ERROR(status);
  fork->Hold(std::move(share));
  ALAYA_RETURN_IF_ERROR(sessions_.Insert(fork));
  return fork->id();
}

Status StandardEngine::TruncateSession(std::string_view tenant, std::string_view id,
                                       uint64_t token_count) {
  ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_.Enter());
  ALAYA_ASSIGN_OR_RETURN(const auto session, sessions_.Find(tenant, id));
  Status status;
  session->strand().Run([&] {
    status = session->CheckOpen();
    if (status.ok()) status = session->Truncate(token_count);
    session->Publish(clock_->now());
  });
  return status;
}

std::vector<SessionInfo> StandardEngine::ListSessions(std::string_view tenant,
                                                      std::string_view after_id, size_t limit) {
  std::vector<SessionInfo> infos;
  for (const auto& session : sessions_.List(tenant, after_id, limit)) {
    infos.push_back(session->info());
  }
  return infos;
}

EngineStats StandardEngine::stats() const {
  EngineStats stats;
  stats.store = store_->stats();
  stats.sessions = sessions_.size();
  stats.tail_bytes = tail_budgets_.total().used_bytes();
  stats.lookup_tokens = catalog_.lookup_tokens();
  stats.hit_tokens = catalog_.hit_tokens();
  stats.memory_hit_tokens = catalog_.memory_hit_tokens();
  stats.attend_items_in_flight = tenants_.total().used(QuotaKind::kAttendItems);
  stats.attended_tokens = attend_queue_.attended_tokens();
  stats.scored_tokens = attend_queue_.scored_tokens();
  stats.expired_contexts = sweeper_.expired_count();
  stats.failed_sweeps = sweeper_.failure_count();
  stats.expired_sessions = sweeper_.expired_session_count();
  stats.index_builds = index_builder_.stats();
  stats.tenants = tenants_.accounts();
  stats.bytes_in_flight = tenants_.total().used(QuotaKind::kBytesInFlight);
  stats.refused_by_totals = tenants_.total().refused_count();
  stats.segment_merges = segment_merger_.stats().merges;
  stats.failed_segment_merges = segment_merger_.stats().failed;
  if (device_ != nullptr) stats.device = device_->stats();
  return stats;
}

}  // namespace

WallTime SystemClock::now() const {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

StatusOr<std::unique_ptr<Engine>> Engine::Open(EngineOptions options, ContextStore* store,
                                               AttentionBackend* backend, const Clock* clock,
                                               AttentionDevice* device) {
  if (options.expiry_sweep_interval.count() <= 0) {
    return InvalidArgument(fmt::format("expiry_sweep_interval of {} ms: must be > 0",
                                       options.expiry_sweep_interval.count()));
  }
  if (!(options.indexes.build_cpu_share > 0 && options.indexes.build_cpu_share <= 1)) {
    return InvalidArgument(
        fmt::format("build_cpu_share of {}: must be in (0, 1]", options.indexes.build_cpu_share));
  }
  MachineCosts costs;
  if (options.costs) {
    costs = *options.costs;
  } else {
    ALAYA_ASSIGN_OR_RETURN(costs, MeasureMachineCosts(backend));
  }
  return std::make_unique<StandardEngine>(std::move(options), costs, store, backend, clock, device);
}

}  // namespace alaya
