// An engine that a test leads by the hand: attention items wait until the test
// answers them, imports are recorded, everything else answers at once.

#ifndef ALAYA_TESTS_SERVER_RPC_FAKE_ENGINE_H_
#define ALAYA_TESTS_SERVER_RPC_FAKE_ENGINE_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine.h"

namespace alaya {

// What an import did; outlives it.
struct ImportRecord {
  std::atomic<int> chunk_count{0};
  std::atomic<bool> finished{false};
  std::atomic<bool> destroyed{false};
};

class FakeEngine final : public Engine {
 public:
  struct PendingItem {
    AttendItem item;
    Deadline deadline;
    std::function<bool()> cancelled;
    std::function<void(AttendResult)> done;
  };

  FakeEngine() {
    auto model = std::make_shared<RegisteredModel>();
    model->id = ModelId{1};
    model->model = {.name = "m",
                    .num_layers = 2,
                    .num_query_heads = 2,
                    .num_kv_heads = 1,
                    .head_dim = 8,
                    .dtype = DType::kF32};
    model_ = model;
  }

  // ---- What a test says and sees.

  // Attention items are answered by the calling thread at once.
  std::atomic<bool> answers_at_once{false};
  ImportRecord import_record;
  std::atomic<uint64_t> chunks_read{0};
  std::atomic<size_t> chunks_read_ahead{0};
  uint64_t readable_tokens = 64;
  // Reading it answers DataLoss.
  std::optional<uint64_t> damaged_token;

  // Blocks until `count` items have come in all; false after 10 seconds.
  bool WaitForItems(size_t count) {
    std::unique_lock lock(mutex_);
    return came_.wait_for(lock, std::chrono::seconds(60), [&] { return items_.size() >= count; });
  }
  size_t item_count() {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }
  // The item that came as number `index`.
  PendingItem& item(size_t index) {
    const std::lock_guard lock(mutex_);
    return *items_.at(index);
  }
  void Answer(size_t index) { item(index).done(ResultFor(item(index).item)); }

  // The output repeats the query; log_sum_exp is 1.
  static AttendResult ResultFor(const AttendItem& item) {
    AttendResult result;
    if (!item.query) return result;
    const TensorView& query = *item.query;
    result.dtype = query.dtype;
    result.tokens = query.tokens;
    result.heads = query.heads;
    result.dim = query.dim;
    result.output.assign(reinterpret_cast<const char*>(query.data.data()), query.data.size());
    result.log_sum_exp.assign(query.tokens * query.heads, 1.0F);
    result.stats.engine_us = 5;
    return result;
  }

  // ---- Engine.

  StatusOr<bool> RegisterModel(const Model& /*model*/) override { return true; }
  std::vector<Model> ListModels() const override { return {model_->model}; }
  StatusOr<std::unique_ptr<ContextImport>> BeginImport(ImportHeader header) override {
    if (header.model != "m") return NotFound("model '" + header.model + "' is not registered");
    return std::unique_ptr<ContextImport>(new Import(&import_record));
  }
  StatusOr<MatchAnswer> MatchContext(std::string_view /*tenant*/, std::string_view model,
                                     std::span<const TokenId> tokens) override {
    if (model != "m") return NotFound("model '" + std::string(model) + "' is not registered");
    return MatchAnswer{.context_id = "c0", .matched_tokens = tokens.size()};
  }
  StatusOr<std::shared_ptr<const StoredContext>> GetContext(std::string_view /*tenant*/,
                                                            std::string_view id) override {
    if (!id.starts_with("c")) return NotFound("context '" + std::string(id) + "'");
    return MakeContext(std::string(id));
  }
  StatusOr<std::vector<TokenId>> ReadTokens(const StoredContext& context) override {
    return std::vector<TokenId>(context.token_count());
  }
  StatusOr<std::vector<std::shared_ptr<const StoredContext>>> ListContexts(
      const ContextFilter& /*filter*/, std::string_view after_id, size_t limit) override {
    std::vector<std::shared_ptr<const StoredContext>> contexts;
    for (const char* id : {"c1", "c2", "c3"}) {
      if (id > after_id && contexts.size() < limit) contexts.push_back(MakeContext(id));
    }
    return contexts;
  }
  StatusOr<std::shared_ptr<const StoredContext>> UpdateContext(
      const UpdateContextParams& params) override {
    return MakeContext(params.context_id);
  }
  StatusOr<uint64_t> DeleteContext(std::string_view /*tenant*/, std::string_view /*id*/) override {
    return 7;
  }
  StatusOr<SearchAnswer> SearchContext(const SearchParams& params) override {
    SearchAnswer answer;
    answer.heads.assign(params.query.tokens * params.query.heads, {{.token = 3, .score = 0.5F}});
    return answer;
  }
  // Chunks of one token.
  StatusOr<std::unique_ptr<ContextReading>> ReadContext(std::string_view /*tenant*/,
                                                        std::string_view /*id*/,
                                                        std::optional<TokenRange> range,
                                                        std::span<const uint32_t> layers) override {
    const std::vector<uint32_t> all = {0, 1};
    if (layers.empty()) layers = all;
    const TokenRange readable{0, readable_tokens};
    return std::unique_ptr<ContextReading>(
        new Reading(this, range ? Intersect(*range, readable) : readable, layers));
  }

  StatusOr<SessionInfo> CreateSession(const CreateSessionParams& params) override {
    return MakeSession("s0", params.model);
  }
  void Attend(AttendItem item, Deadline deadline, std::function<bool()> cancelled,
              std::function<void(AttendResult)> done) override {
    if (answers_at_once) {
      done(ResultFor(item));
      return;
    }
    const std::lock_guard lock(mutex_);
    items_.push_back(std::make_unique<PendingItem>(
        PendingItem{std::move(item), deadline, std::move(cancelled), std::move(done)}));
    came_.notify_all();
  }
  StatusOr<ImportResult> StoreSession(const StoreSessionParams& /*params*/) override {
    return ImportResult{.context_id = "c9", .reused_tokens = 1, .stored_bytes = 2};
  }
  StatusOr<std::string> ForkSession(std::string_view /*tenant*/, std::string_view id) override {
    return std::string(id) + "-fork";
  }
  Status TruncateSession(std::string_view /*tenant*/, std::string_view /*id*/,
                         uint64_t /*token_count*/) override {
    return OkStatus();
  }
  Status CloseSession(std::string_view /*tenant*/, std::string_view id) override {
    return NotFound("session '" + std::string(id) + "'");
  }
  StatusOr<SessionInfo> GetSession(std::string_view /*tenant*/, std::string_view id) override {
    return MakeSession(std::string(id), "m");
  }
  std::vector<SessionInfo> ListSessions(std::string_view /*tenant*/, std::string_view /*after_id*/,
                                        size_t /*limit*/) override {
    return {};
  }
  StatusOr<uint64_t> CreateBackup(const std::string& /*directory*/) override { return 1; }
  StatusOr<uint64_t> CompactStorage() override { return 2; }
  void Drain() override {}
  StoreUsage usage() const override {
    return {.models = {{"m", 3, 4, 5, 6}}, .labels = {{"k", "v", 7, 8}}, .labels_left_out = 9};
  }
  EngineStats stats() const override { return {}; }
  const EngineLimits& limits() const override { return limits_; }
  void SetTenantLimits(TenantLimitsTable limits) override { tenants_.SetLimits(std::move(limits)); }
  TenantQuota& tenants() override { return tenants_; }
  std::vector<const AttentionBackend*> backends() const override { return {}; }
  const AttentionDevice* device() const override { return nullptr; }

 private:
  class Import final : public ContextImport {
   public:
    explicit Import(ImportRecord* record) : record_(record) {}
    ~Import() override { record_->destroyed = true; }
    Status AddChunk(const ImportChunk& /*chunk*/) override {
      ++record_->chunk_count;
      return OkStatus();
    }
    StatusOr<ImportResult> Finish() override {
      record_->finished = true;
      return ImportResult{.context_id = "c7", .stored_bytes = 11};
    }

   private:
    ImportRecord* const record_;
  };

  class Reading final : public ContextReading {
   public:
    Reading(FakeEngine* engine, TokenRange range, std::span<const uint32_t> layers)
        : engine_(engine),
          range_(range),
          layers_(layers.begin(), layers.end()),
          next_token_(range.begin) {}
    uint64_t chunk_bytes_max() const override { return 2 * kRowBytes; }
    void ReadAhead(size_t chunk_count) override { engine_->chunks_read_ahead = chunk_count; }
    StatusOr<std::optional<ReadChunk>> Next() override {
      if (next_layer_ == layers_.size()) return std::optional<ReadChunk>();
      if (next_token_ == engine_->damaged_token) return DataLoss("page 7 has a wrong checksum");
      ++engine_->chunks_read;
      // Token t of layer l has keys of t and values of l.
      const auto rows = std::make_shared<std::vector<std::byte>>(2 * kRowBytes);
      std::fill_n(rows->begin(), kRowBytes, static_cast<std::byte>(next_token_));
      std::fill_n(rows->begin() + kRowBytes, kRowBytes,
                  static_cast<std::byte>(layers_[next_layer_]));
      const ReadChunk chunk{.layer = LayerIndex{layers_[next_layer_]},
                            .token_begin = next_token_,
                            .tokens = 1,
                            .keys = std::span(*rows).first(kRowBytes),
                            .values = std::span(*rows).last(kRowBytes),
                            .memory = rows};
      if (++next_token_ == range_.end) {
        next_token_ = range_.begin;
        ++next_layer_;
      }
      return chunk;
    }

   private:
    static constexpr ptrdiff_t kRowBytes = 8 * sizeof(float);

    FakeEngine* const engine_;
    const TokenRange range_;
    const std::vector<uint32_t> layers_;
    uint64_t next_token_;
    size_t next_layer_ = 0;
  };

  static SessionInfo MakeSession(std::string id, std::string model) {
    SessionInfo session;
    session.session_id = std::move(id);
    session.model = std::move(model);
    return session;
  }

  std::shared_ptr<const StoredContext> MakeContext(std::string id) const {
    auto segment = std::make_shared<Segment>();
    segment->model = model_;
    segment->token_count = readable_tokens;
    auto context = std::make_shared<StoredContext>();
    context->id = std::move(id);
    context->model = model_;
    context->chain = {{.segment = segment, .token_count = readable_tokens}};
    return context;
  }

  std::shared_ptr<const RegisteredModel> model_;
  TenantQuota tenants_{TenantLimitsTable()};
  const EngineLimits limits_{.max_context_tokens = 1000, .max_queries_per_item = 4};
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::unique_ptr<PendingItem>> items_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SERVER_RPC_FAKE_ENGINE_H_
