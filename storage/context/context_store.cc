// Directory: LOCK, db/ (RocksDB), while contexts are written import-<segment>/, and DAMAGED
// once damage was found.

#include "storage/context/context_store.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "storage/context/backup.h"
#include "storage/context/catalog.h"
#include "storage/context/damage_marker.h"
#include "storage/context/index_commit.h"
#include "storage/context/page_reader.h"
#include "storage/context/segment_merge.h"
#include "storage/context/segment_reaper.h"
#include "storage/context/segment_writer.h"
#include "storage/database/database.h"
#include "storage/file/file_system.h"
#include "storage/page/page.h"

namespace alaya {
namespace {

constexpr uint64_t kMemoryBudgetBytesMin = uint64_t{16} << 20;
// A new segment is kept in memory if it has at most one part in this many of it.
constexpr uint64_t kKeptSegmentShare = 4;
// Buffers for reads take one part in this many of memory.
constexpr uint64_t kReadBuffersShare = 64;
constexpr uint64_t kReadBuffersBytesMax = uint64_t{32} << 20;
// The tier grows only by more than that: what the store takes goes up and down a little.
constexpr uint64_t kTierGrowthBytesMin = uint64_t{4} << 20;
constexpr char kLockFile[] = "LOCK";
constexpr std::string_view kImportPrefix = "import-";

std::string Count(uint64_t count) { return std::to_string(count); }

// A directory that is not a store's is somebody's: it is left alone.
Status CheckDirectory(const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(const auto names, ListDirectory(directory));
  if (std::find(names.begin(), names.end(), kDatabaseDirectory) != names.end()) return OkStatus();
  const auto foreign = std::ranges::find_if(names, [](const std::string& name) {
    return name != kLockFile && name != "lost+found" && !name.starts_with(kImportPrefix);
  });
  if (foreign == names.end()) return OkStatus();
  return FailedPrecondition(directory + " is not empty and holds no AlayaDB store (it has '" +
                            *foreign + "')");
}

Status SweepImports(const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(const auto names, ListDirectory(directory));
  const std::string prefix = directory + "/";
  for (const std::string& name : names) {
    if (name.starts_with(kImportPrefix)) ALAYA_RETURN_IF_ERROR(RemoveTree(prefix + name));
  }
  return OkStatus();
}

Status CheckDraft(const ContextDraft& draft) {
  if (draft.id.empty()) return InvalidArgument("a context needs an id");
  if (draft.model == nullptr) return InvalidArgument("context '" + draft.id + "' has no model");
  uint64_t position = 0;
  for (const SegmentLink& link : draft.prefix) {
    const Segment& segment = *link.segment;
    if (segment.model->id != draft.model->id || segment.tenant != draft.tenant) {
      return InvalidArgument("context '" + draft.id + "': segment " + Count(ToInt(segment.id)) +
                             " belongs to another model or tenant");
    }
    if (segment.token_begin != position || link.token_count == 0 ||
        link.token_count > segment.token_count) {
      return InvalidArgument("context '" + draft.id + "': segment " + Count(ToInt(segment.id)) +
                             " begins at token " + Count(segment.token_begin) + " and has " +
                             Count(segment.token_count) + " tokens; asked for " +
                             Count(link.token_count) + " from token " + Count(position));
    }
    position += link.token_count;
  }
  if (position == 0 && draft.tokens.empty()) {
    return InvalidArgument("context '" + draft.id + "' has no tokens");
  }
  return OkStatus();
}

class ContextStoreImpl : public ContextStore {
 public:
  ContextStoreImpl(ContextStoreOptions options, std::optional<FileLock> lock)
      : options_(std::move(options)),
        lock_(std::move(lock)),
        damage_(options_.directory, options_.log) {}
  ~ContextStoreImpl() override {
    // It may hold segments that the reaper has to drop.
    reader_.reset();
    if (reaper_ != nullptr) reaper_->Stop();
  }

  Status Start();

  StatusOr<bool> RegisterModel(const Model& model) override {
    return catalog_->RegisterModel(model);
  }
  StatusOr<std::shared_ptr<const RegisteredModel>> FindModel(std::string_view name) const override {
    return catalog_->FindModel(name);
  }
  std::vector<std::shared_ptr<const RegisteredModel>> ListModels() const override {
    return catalog_->ListModels();
  }
  StatusOr<std::shared_ptr<const StoredContext>> FindContext(std::string_view tenant,
                                                             std::string_view id) const override {
    return catalog_->FindContext(tenant, id);
  }
  StatusOr<PrefixMatch> MatchPrefix(std::string_view tenant, ModelId model,
                                    std::span<const TokenId> tokens, WallTime now) const override {
    return catalog_->MatchPrefix(tenant, model, tokens, now);
  }
  StatusOr<uint64_t> CountCommonTokens(const std::vector<SegmentLink>& chain,
                                       std::span<const TokenId> tokens) const override {
    return alaya::CountCommonTokens(chain, tokens, tokens_->source());
  }
  StatusOr<std::vector<TokenId>> ReadTokens(const std::vector<SegmentLink>& chain,
                                            TokenRange range) const override {
    return ReadChainTokens(chain, range, tokens_->source());
  }
  std::vector<std::shared_ptr<const StoredContext>> ListContexts(const ContextFilter& filter,
                                                                 std::string_view after_id,
                                                                 size_t limit) const override {
    return catalog_->ListContexts(filter, after_id, limit);
  }
  std::vector<std::string> ListTenants() const override { return catalog_->ListTenants(); }
  StatusOr<std::shared_ptr<const StoredContext>> UpdateContext(
      std::string_view tenant, std::string_view id, const ContextUpdate& update) override {
    return catalog_->UpdateContext(tenant, id, update);
  }
  StatusOr<uint64_t> DeleteContext(std::string_view tenant, std::string_view id) override {
    return catalog_->DeleteContext(tenant, id);
  }
  StatusOr<size_t> DeleteExpired(WallTime now) override { return catalog_->DeleteExpired(now); }

  StatusOr<std::unique_ptr<ContextWriter>> BeginContext(ContextDraft draft) override;
  StatusOr<PinnedPage> ReadPage(const Segment& segment, const PageId& id, PageUse use) override {
    return reader_->ReadPage(segment, id, use);
  }
  size_t LoadPages(const Segment& segment, std::span<const PageId> ids) override {
    return reader_->LoadPages(segment, ids);
  }
  ReadPool::Pending StartLoading(std::shared_ptr<const Segment> segment,
                                 std::span<const PageId> ids) override {
    return reader_->StartLoading(std::move(segment), ids);
  }
  void Announce(std::shared_ptr<const Segment> segment, std::span<const PageId> ids) override {
    reader_->Announce(std::move(segment), ids);
  }
  void DropAnnounced(const Segment& segment, LayerIndex layer) override {
    reader_->DropAnnounced(segment, layer);
  }
  Status ScanPages(
      const Segment& segment, std::span<const PageId> ids,
      const std::function<void(size_t i, std::span<const std::byte> payload)>& use) override {
    return reader_->ScanPages(segment, ids, use);
  }
  ReadPool::Pending StartReading(std::function<void()> read) override {
    return reader_->StartReading(std::move(read));
  }
  uint64_t memory_budget_bytes() const override { return options_.memory_budget_bytes; }
  uint64_t ResidentTokens(const std::vector<SegmentLink>& chain) const override {
    return reader_->ResidentTokens(chain);
  }
  void SetMemoryLimits(OwnerLimits limits) override { cache_->SetLimits(std::move(limits)); }
  void FitMemory() override;
  bool IsResident(const PageId& id) const override { return cache_->Contains(id); }
  void FetchFrames(std::span<const PageId> ids) const override { cache_->FetchFrames(ids); }
  std::vector<std::shared_ptr<const Segment>> ListSegments() const override {
    return catalog_->ListSegments();
  }
  bool IsLinked(const Segment& segment) const override { return catalog_->IsLinked(segment.id); }
  StatusOr<std::shared_ptr<const Segment>> MergeSegments(
      const std::function<bool()>& should_stop) override;
  StatusOr<std::unique_ptr<IndexWriter>> BeginIndex(std::shared_ptr<const Segment> segment,
                                                    uint8_t kind, uint32_t version) override;
  StatusOr<PinnedPage> ReadIndexBlock(const Segment& segment, const StoredIndex& index,
                                      const PageId& id) override {
    return reader_->ReadIndexBlock(segment, index, id);
  }
  StatusOr<uint64_t> CreateBackup(const std::string& directory) override {
    return WriteBackup(database_.get(), directory);
  }
  StatusOr<uint64_t> Compact() override;
  ContextStoreStats stats() const override;
  uint64_t StoredBytes(std::string_view tenant) const override {
    return catalog_->StoredBytes(tenant);
  }
  StoreUsage usage() const override { return catalog_->Usage(); }

  DiskQuota* quota() { return quota_.get(); }
  Catalog* catalog() { return catalog_.get(); }
  Database* database() { return database_.get(); }
  PageCache* cache() { return cache_.get(); }
  const TokenReader& tokens() const { return *tokens_; }
  const SegmentReaper& reaper() const { return *reaper_; }

 private:
  bool Drop(const SegmentReaper::Dead& dead);
  void Evict();
  // Whoever only reads leaves no marks.
  void FoundDamage(std::string_view damage) {
    if (!options_.read_only) damage_.Record(damage);
  }

  const ContextStoreOptions options_;
  std::optional<FileLock> lock_;
  DamageMarker damage_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<PageCache> cache_;
  std::unique_ptr<TokenReader> tokens_;
  std::unique_ptr<SegmentReaper> reaper_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<DiskQuota> quota_;
  std::atomic<uint64_t> evicted_contexts_{0};
  std::atomic<uint64_t> joined_segments_{0};
  std::atomic<uint64_t> merge_written_bytes_{0};
  mutable std::mutex memory_mutex_;
  StoreMemory memory_;  // guarded by memory_mutex_
  std::unique_ptr<PageReader> reader_;
};

class ContextWriterImpl : public ContextWriter {
 public:
  // Takes over the reserved name.
  ContextWriterImpl(ContextStoreImpl* store, ContextDraft draft)
      : store_(store), draft_(std::move(draft)) {}
  ~ContextWriterImpl() override;

  // Makes ready to write the draft's tokens as a new segment.
  Status Start(const ContextStoreOptions& options);

  Status Append(LayerIndex layer, std::span<const std::byte> keys,
                std::span<const std::byte> values) override {
    return Keep(files_ == nullptr ? NothingToWrite() : files_->Append(layer, keys, values));
  }
  Status AppendQueries(LayerIndex layer, std::span<const std::byte> queries) override {
    return Keep(files_ == nullptr ? NothingToWrite() : files_->AppendQueries(layer, queries));
  }
  uint64_t appended_tokens(LayerIndex layer) const override {
    return files_ == nullptr ? 0 : files_->appended_tokens(layer);
  }
  StatusOr<Committed> Commit() override;

 private:
  Status NothingToWrite() const {
    return InvalidArgument("context '" + draft_.id + "' has no tokens beyond its prefix");
  }
  Status Keep(const Status& status) {
    if (first_error_.ok()) first_error_ = status;
    return first_error_;
  }
  Status StoreSegment();

  ContextStoreImpl* const store_;
  ContextDraft draft_;
  std::unique_ptr<Segment> segment_;  // null without tokens beyond the prefix
  std::string directory_;
  bool kept_in_memory_ = false;
  std::unique_ptr<SegmentWriter> files_;
  Status first_error_;
  uint64_t stored_bytes_ = 0;
  // Once pages may be in the database their segment must die through the reaper.
  std::shared_ptr<const Segment> ingested_;
};

Status ContextWriterImpl::Start(const ContextStoreOptions& options) {
  if (draft_.tokens.empty()) return OkStatus();
  segment_ = std::make_unique<Segment>();
  ALAYA_ASSIGN_OR_RETURN(segment_->id, store_->catalog()->AllocateSegmentId());
  segment_->model = draft_.model;
  segment_->tenant = draft_.tenant;
  segment_->token_begin = draft_.prefix.empty() ? 0 : draft_.prefix.back().range().end;
  segment_->token_count = draft_.tokens.size();
  segment_->wanted_indexes = std::move(draft_.wanted_indexes);
  directory_ = options.directory + "/" + std::string(kImportPrefix) + Count(ToInt(segment_->id));
  ALAYA_RETURN_IF_ERROR(CreateDirectories(directory_));
  SegmentWriterOptions writing{.directory = directory_,
                               .disk_reserve_bytes = options.disk_reserve_bytes,
                               .quota = store_->quota()};
  // Who wrote it will mostly read it next. A large segment would push everything else
  // out, and itself.
  const uint64_t bytes = segment_->token_count * draft_.model->model.token_bytes();
  kept_in_memory_ = bytes <= options.memory_budget_bytes / kKeptSegmentShare;
  if (kept_in_memory_) {
    writing.keep = [this](const PageId& id, std::span<const std::byte> payload) {
      store_->cache()->Put(id, payload, segment_->tenant);
    };
  }
  files_ = std::make_unique<SegmentWriter>(store_->database(), *segment_, std::move(writing));
  return OkStatus();
}

ContextWriterImpl::~ContextWriterImpl() {
  files_.reset();
  // Not handed on to the reaper: nobody else will drop what was kept of it.
  if (segment_ != nullptr) store_->cache()->Erase(segment_->id);
  // What cannot be removed is swept at the next start.
  if (!directory_.empty()) RemoveTree(directory_).IgnoreError();
  store_->catalog()->ReleaseName({draft_.tenant, draft_.id});
}

// Makes the pages durable; nothing names them yet.
Status ContextWriterImpl::StoreSegment() {
  ALAYA_ASSIGN_OR_RETURN(SegmentWriter::Finished finished, files_->Finish());
  stored_bytes_ = finished.bytes;
  segment_->stored_bytes = finished.bytes;
  segment_->query_counts = std::move(finished.query_counts);
  ingested_ = store_->reaper().Adopt(std::move(segment_));
  return store_->database()->IngestPages(finished.files);
}

StatusOr<ContextWriter::Committed> ContextWriterImpl::Commit() {
  ALAYA_RETURN_IF_ERROR(first_error_);
  // A second call, or one after an error, has nothing to commit.
  first_error_ =
      FailedPrecondition("context '" + draft_.id + "' was committed before, or failed to");
  auto context = std::make_shared<StoredContext>();
  context->id = draft_.id;
  context->tenant = draft_.tenant;
  context->model = draft_.model;
  context->chain = std::move(draft_.prefix);
  context->labels = std::move(draft_.labels);
  context->create_time = draft_.create_time;
  context->expire_time = draft_.expire_time;
  if (files_ != nullptr) {
    ALAYA_RETURN_IF_ERROR(StoreSegment());
    context->chain.push_back({ingested_, ingested_->token_count});
    if (kept_in_memory_) store_->tokens().Keep(*ingested_, draft_.tokens);
  }
  ALAYA_RETURN_IF_ERROR(
      store_->catalog()->Commit(context, {.segment = ingested_.get(), .tokens = draft_.tokens}));
  return Committed{std::move(context), stored_bytes_};
}

Status ContextStoreImpl::Start() {
  const std::string& directory = options_.directory;
  const std::string database_directory = directory + "/" + kDatabaseDirectory;
  if (!options_.read_only) {
    ALAYA_RETURN_IF_ERROR(SweepImports(directory));
    // RocksDB would create it too, but complains before that it is missing.
    ALAYA_RETURN_IF_ERROR(CreateDirectories(database_directory));
  }
  ALAYA_ASSIGN_OR_RETURN(cache_, PageCache::Create(options_.memory_budget_bytes));
  ALAYA_ASSIGN_OR_RETURN(
      database_,
      Database::Open(
          database_directory,
          {.log = options_.log,
           .on_damage = [this](std::string_view damage) { FoundDamage(damage); },
           .read_only = options_.read_only,
           .env = options_.env,
           .read_buffer_bytes_max =
               std::min(options_.memory_budget_bytes / kReadBuffersShare, kReadBuffersBytesMax)}));
  reader_ = std::make_unique<PageReader>(database_.get(), cache_.get(),
                                         [this](std::string_view damage) { FoundDamage(damage); });
  tokens_ = std::make_unique<TokenReader>(database_.get(), cache_.get(),
                                          [this](std::string_view damage) { FoundDamage(damage); });
  reaper_ = std::make_unique<SegmentReaper>();
  ALAYA_ASSIGN_OR_RETURN(
      catalog_, Catalog::Load(database_.get(), tokens_.get(), reaper_.get(), options_.merge));
  quota_ = std::make_unique<DiskQuota>(
      options_.quota, [this] { return database_->stats().disk_bytes; }, [this] { Evict(); });
  FitMemory();
  if (options_.read_only) return OkStatus();
  reaper_->Start([this](const SegmentReaper::Dead& dead) { return Drop(dead); });
  // Tokens that are nobody's were erased when the catalog was read.
  for (const SegmentId id : database_->StoredSegments()) Drop({.id = id});
  return SyncDirectory(directory);
}

// What fails is tried again at the next write.
void ContextStoreImpl::Evict() {
  const StatusOr<size_t> evicted =
      catalog_->Evict(options_.quota.low_water(), options_.quota.evict_label);
  if (evicted.ok()) evicted_contexts_.fetch_add(*evicted, std::memory_order_relaxed);
  reaper_->Flush();
}

// Of a segment or of an index. False if the disk failed.
bool ContextStoreImpl::Drop(const SegmentReaper::Dead& dead) {
  const SegmentId id = dead.id;
  // The catalog still names it: only its snapshots in memory are gone.
  if (catalog_->IsLinked(id)) return true;
  cache_->Erase(id);
  Status status = database_->DropSegment(id);
  if (status.ok()) status = catalog_->EraseTokens(id, dead.token_count);
  if (!status.ok() && options_.log) {
    options_.log(StorageLogLevel::kWarning,
                 "segment " + Count(ToInt(id)) +
                     " stays on disk until a drop succeeds: " + std::string(Message(status)));
  }
  return status.ok();
}

StatusOr<std::unique_ptr<ContextWriter>> ContextStoreImpl::BeginContext(ContextDraft draft) {
  ALAYA_RETURN_IF_ERROR(CheckDraft(draft));
  ALAYA_RETURN_IF_ERROR(catalog_->ReserveName({draft.tenant, draft.id}));
  auto writer = std::make_unique<ContextWriterImpl>(this, std::move(draft));
  ALAYA_RETURN_IF_ERROR(writer->Start(options_));
  return std::unique_ptr<ContextWriter>(std::move(writer));
}

StatusOr<std::shared_ptr<const Segment>> ContextStoreImpl::MergeSegments(
    const std::function<bool()>& should_stop) {
  const auto run = catalog_->TakeMergeRun();
  if (run.empty()) return std::shared_ptr<const Segment>();
  uint64_t bytes = 0;
  for (const auto& segment : run) bytes += segment->stored_bytes;
  const SegmentMerging merging{.catalog = catalog_.get(),
                               .database = database_.get(),
                               .cache = cache_.get(),
                               .reader = reader_.get(),
                               .tokens = tokens_.get(),
                               .reaper = reaper_.get(),
                               .disk_reserve_bytes = options_.disk_reserve_bytes,
                               .kept_bytes_max = options_.memory_budget_bytes / kKeptSegmentShare};
  StatusOr<std::shared_ptr<const Segment>> merged =
      quota_->HasRoomFor(bytes)
          ? MergeSegmentRun(merging, options_.directory + "/" + std::string(kImportPrefix), run,
                            should_stop)
          : ResourceExhausted("no room below disk_high_water to join segments of " + Count(bytes) +
                              " bytes");
  if (merged.ok()) {
    joined_segments_.fetch_add(run.size(), std::memory_order_relaxed);
    merge_written_bytes_.fetch_add((*merged)->stored_bytes, std::memory_order_relaxed);
  } else if (merged.status().code() != StatusCode::kDataLoss) {
    catalog_->RetryMerge(*run.back());
  }
  return merged;
}

StatusOr<std::unique_ptr<IndexWriter>> ContextStoreImpl::BeginIndex(
    std::shared_ptr<const Segment> segment, uint8_t kind, uint32_t version) {
  const IndexWriting writing{.catalog = catalog_.get(),
                             .database = database_.get(),
                             .reaper = reaper_.get(),
                             .disk_reserve_bytes = options_.disk_reserve_bytes,
                             .quota = quota_.get()};
  return BeginStoredIndex(writing, options_.directory + "/" + std::string(kImportPrefix),
                          std::move(segment), {kind, version});
}

StatusOr<uint64_t> ContextStoreImpl::Compact() {
  const uint64_t before = database_->stats().disk_bytes;
  reaper_->Flush();
  ALAYA_RETURN_IF_ERROR(database_->CompactCatalog());
  const uint64_t after = database_->stats().disk_bytes;
  return before > after ? before - after : 0;
}

void ContextStoreImpl::FitMemory() {
  const DatabaseMemory database = database_->memory();
  const PageCacheStats cache = cache_->stats();
  const std::lock_guard lock(memory_mutex_);
  memory_.page_tables = cache.table_bytes;
  memory_.catalog = catalog_->memory_bytes();
  memory_.write_buffers = std::max(memory_.write_buffers, database.write_buffer_bytes);
  memory_.files = database.file_bytes;
  memory_.read_buffers = database.read_buffer_bytes;
  const uint64_t budget = options_.memory_budget_bytes;
  const uint64_t rest = budget - std::min(memory_.total(), budget / 2);
  if (rest < cache.capacity_bytes || rest >= cache.capacity_bytes + kTierGrowthBytesMin) {
    cache_->SetCapacity(rest);
  }
}

ContextStoreStats ContextStoreImpl::stats() const {
  const Catalog::Counts counts = catalog_->counts();
  const DatabaseStats database = database_->stats();
  ContextStoreStats stats;
  stats.models = counts.models;
  stats.contexts = counts.contexts;
  stats.segments = counts.segments;
  stats.stored_tokens = counts.stored_tokens;
  stats.stored_bytes = counts.stored_bytes;
  stats.indexes = counts.indexes;
  stats.disk_bytes = database.disk_bytes;
  stats.disk_free_bytes = FreeBytes(options_.directory).value_or(0);
  stats.disk_reserve_bytes = options_.disk_reserve_bytes;
  stats.disk_high_water_bytes = options_.quota.high_water_bytes;
  stats.disk_low_water_bytes = options_.quota.low_water();
  stats.evicted_contexts = evicted_contexts_.load(std::memory_order_relaxed);
  stats.joined_segments = joined_segments_.load(std::memory_order_relaxed);
  stats.merge_written_bytes = merge_written_bytes_.load(std::memory_order_relaxed);
  stats.checksum_failures = reader_->checksum_failures() + tokens_->checksum_failures();
  stats.background_errors = database.background_errors;
  stats.pending_compaction_bytes = database.pending_compaction_bytes;
  stats.delayed_write_bytes_per_second = database.delayed_write_bytes_per_second;
  stats.write_stopped = database.write_stopped;
  stats.cache = cache_->stats();
  const std::lock_guard lock(memory_mutex_);
  stats.memory = memory_;
  return stats;
}

}  // namespace

StatusOr<std::unique_ptr<ContextStore>> ContextStore::Open(ContextStoreOptions options) {
  if (options.memory_budget_bytes < kMemoryBudgetBytesMin) {
    return InvalidArgument("memory budget of " + Count(options.memory_budget_bytes) +
                           " bytes is below " + Count(kMemoryBudgetBytesMin));
  }
  if (options.merge.segments_min == 1) {
    return InvalidArgument("segments to be joined are at least 2, or 0 for none");
  }
  std::optional<FileLock> lock;
  const std::string lock_path = options.directory + "/" + kLockFile;
  if (options.read_only) {
    if (!PathExists(options.directory + "/" + kDatabaseDirectory)) {
      return FailedPrecondition(options.directory + " holds no AlayaDB store");
    }
    // A backup has no lock file, and may lie where none can be made.
    if (PathExists(lock_path)) {
      ALAYA_ASSIGN_OR_RETURN(lock, FileLock::Acquire(lock_path));
    }
  } else {
    ALAYA_RETURN_IF_ERROR(CreateDirectories(options.directory));
    ALAYA_RETURN_IF_ERROR(CheckDirectory(options.directory));
    ALAYA_ASSIGN_OR_RETURN(lock, FileLock::Acquire(lock_path));
    ALAYA_RETURN_IF_ERROR(CheckDamageMarker(options.directory, options.accept_damage, options.log));
  }
  auto store = std::make_unique<ContextStoreImpl>(std::move(options), std::move(lock));
  ALAYA_RETURN_IF_ERROR(store->Start());
  return std::unique_ptr<ContextStore>(std::move(store));
}

}  // namespace alaya
