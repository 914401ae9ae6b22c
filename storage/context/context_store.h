// The durable store of models, contexts and segments, and the door to their pages.
//
// Life: Open (recovers: drops what no committed context needs) -> calls from any
// thread -> destruction (waits for writers; sessions must have let go of segments).
//
// A write is durable when its call returns OK and leaves nothing behind when it
// returns an error. Knows nothing of attention.

#ifndef ALAYA_STORAGE_CONTEXT_CONTEXT_STORE_H_
#define ALAYA_STORAGE_CONTEXT_CONTEXT_STORE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/cache/page_cache.h"
#include "storage/context/context_writer.h"
#include "storage/context/disk_quota.h"
#include "storage/context/index_writer.h"
#include "storage/context/merge_policy.h"
#include "storage/context/read_pool.h"
#include "storage/context/stored_context.h"
#include "storage/context/stored_index.h"
#include "storage/database/storage_log.h"
#include "storage/types/status.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace alaya {

struct ContextStoreOptions {
  std::string directory;                             // created if missing; one process at a time
  uint64_t memory_budget_bytes = uint64_t{1} << 30;  // pages and StoreMemory; at least 16 MiB
  StorageLog log = nullptr;                          // RocksDB's messages too; may be null
  // Imports stop while the file system has less free: the catalog must always be able
  // to grow, or a full disk could not even delete.
  uint64_t disk_reserve_bytes = uint64_t{64} << 20;
  DiskQuotaOptions quota = {};
  MergeOptions merge = {};
  // Changes nothing in the directory, which may be a backup; every write fails.
  bool read_only = false;
  // Open although damage was found there before (damage_marker.h).
  bool accept_damage = false;
  // Where RocksDB finds its files, for tests; null: the system's. Must outlive the store.
  rocksdb::Env* env = nullptr;
};

struct ContextFilter {
  std::string tenant;
  std::optional<std::string> model = {};
  Labels labels = {};  // a context must carry all of them
};

struct ContextUpdate {
  std::optional<bool> pinned = {};
  // Set: replaces the expiry; the inner nullopt removes it.
  std::optional<std::optional<WallTime>> expire_time = {};
  std::optional<Labels> labels = {};
};

struct PrefixMatch {
  std::shared_ptr<const StoredContext> context;  // null: nothing matches
  uint64_t matched_tokens = 0;
};

// Indexes of one kind.
struct IndexCount {
  uint64_t segments = 0;  // that have one
  uint64_t stored_bytes = 0;
};

// What a model's contexts take on disk, indexes included; shared segments count once.
struct ModelUsage {
  std::string model;
  uint64_t contexts = 0;
  uint64_t segments = 0;
  uint64_t stored_tokens = 0;
  uint64_t stored_bytes = 0;
};
// The same of all contexts that carry a label. A segment that contexts with other labels
// share counts for each.
struct LabelUsage {
  std::string key;
  std::string value;
  uint64_t contexts = 0;
  uint64_t stored_bytes = 0;
};
inline constexpr size_t kLabelUsagesMax = 100;
struct StoreUsage {
  std::vector<ModelUsage> models;  // by name
  std::vector<LabelUsage> labels;  // at most kLabelUsagesMax, those that take most first
  uint64_t labels_left_out = 0;
};

// What the store takes of its memory budget beside pages, as it was looked at last; the tier has
// the rest.
struct StoreMemory {
  uint64_t page_tables = 0;    // where pages are in memory, and which one leaves next
  uint64_t catalog = 0;        // about: contexts, segments and the tree of prefixes
  uint64_t write_buffers = 0;  // RocksDB's; the most they ever took
  uint64_t files = 0;          // about: RocksDB's list of files, and the indexes of open ones
  uint64_t read_buffers = 0;

  uint64_t total() const { return page_tables + catalog + write_buffers + files + read_buffers; }
};

struct ContextStoreStats {
  uint64_t models = 0;
  uint64_t contexts = 0;
  uint64_t segments = 0;
  uint64_t stored_tokens = 0;                           // of segments, so shared ones count once
  uint64_t stored_bytes = 0;                            // of segments, indexes not counted
  std::array<IndexCount, kIndexKindMax + 1> indexes{};  // by kind
  uint64_t disk_bytes = 0;             // of the data directory's files, as RocksDB counts them
  uint64_t disk_free_bytes = 0;        // of the file system
  uint64_t disk_reserve_bytes = 0;     // free space below which writes stop
  uint64_t disk_high_water_bytes = 0;  // as DiskQuotaOptions; 0: no quota
  uint64_t disk_low_water_bytes = 0;
  uint64_t evicted_contexts = 0;  // because of the quota
  uint64_t joined_segments = 0;   // by MergeSegments
  uint64_t merge_written_bytes = 0;
  uint64_t checksum_failures = 0;
  uint64_t background_errors = 0;
  uint64_t pending_compaction_bytes = 0;
  uint64_t delayed_write_bytes_per_second = 0;  // what RocksDB slows writes to; 0: it does not
  bool write_stopped = false;
  StoreMemory memory;
  PageCacheStats cache;
};

class ContextStore {
 public:
  // Errors: FailedPrecondition for a directory of another format version or one in
  //   use, for one in which damage was found, and for one that holds no store if it is
  //   only to be read; DataLoss for a
  //   damaged catalog; what the file system says.
  static StatusOr<std::unique_ptr<ContextStore>> Open(ContextStoreOptions options);
  virtual ~ContextStore() = default;

  // True if new, false if the same model was there. Errors: AlreadyExists if the
  // name is taken by another shape.
  virtual StatusOr<bool> RegisterModel(const Model& model) = 0;
  virtual StatusOr<std::shared_ptr<const RegisteredModel>> FindModel(
      std::string_view name) const = 0;
  virtual std::vector<std::shared_ptr<const RegisteredModel>> ListModels() const = 0;

  // Errors: NotFound.
  virtual StatusOr<std::shared_ptr<const StoredContext>> FindContext(std::string_view tenant,
                                                                     std::string_view id) const = 0;
  // The stored context of the tenant and model that shares the longest prefix with
  // `tokens`; compares every token. Contexts expired at `now` do not match.
  // Errors: those of ReadTokens, naming the context.
  virtual StatusOr<PrefixMatch> MatchPrefix(std::string_view tenant, ModelId model,
                                            std::span<const TokenId> tokens,
                                            WallTime now) const = 0;
  // How many of `tokens` the chain begins with; compares every token. Errors: as ReadTokens.
  virtual StatusOr<uint64_t> CountCommonTokens(const std::vector<SegmentLink>& chain,
                                               std::span<const TokenId> tokens) const = 0;
  // Tokens of a chain, from memory or disk. Requires: the range lies in the chain.
  // Errors: DataLoss if they are damaged; what the disk says; ResourceExhausted if all of the
  //   memory stays in use.
  virtual StatusOr<std::vector<TokenId>> ReadTokens(const std::vector<SegmentLink>& chain,
                                                    TokenRange range) const = 0;
  // By falling create time, then rising id; starts after `after_id` if not empty.
  virtual std::vector<std::shared_ptr<const StoredContext>> ListContexts(
      const ContextFilter& filter, std::string_view after_id, size_t limit) const = 0;
  // Of all contexts, sorted.
  virtual std::vector<std::string> ListTenants() const = 0;
  // Of a tenant's segments, indexes included; each counts once. Cost: a look at every segment.
  virtual uint64_t StoredBytes(std::string_view tenant) const = 0;
  virtual StatusOr<std::shared_ptr<const StoredContext>> UpdateContext(
      std::string_view tenant, std::string_view id, const ContextUpdate& update) = 0;
  // Returns the bytes that no other context needs. They are freed when the last
  // holder of the segments lets go.
  virtual StatusOr<uint64_t> DeleteContext(std::string_view tenant, std::string_view id) = 0;
  // Deletes contexts expired at `now`; returns how many.
  virtual StatusOr<size_t> DeleteExpired(WallTime now) = 0;

  // Starts a new context: `draft.prefix` is shared, the rest comes through the
  // writer. Nothing is visible before ContextWriter::Commit.
  // Errors: AlreadyExists for an id in use, also by an open writer.
  virtual StatusOr<std::unique_ptr<ContextWriter>> BeginContext(ContextDraft draft) = 0;

  // What each tenant's pages may take of the memory tier; they make room for each other
  // then. Takes effect with the next pages.
  virtual void SetMemoryLimits(OwnerLimits limits) = 0;

  // A page in memory, pinned until the result dies; read from disk if need be.
  // `row_count` is the number of rows the page was stored with.
  virtual StatusOr<PinnedPage> ReadPage(const Segment& segment, const PageId& id,
                                        PageUse use = PageUse::kRepeated) = 0;
  // Brings pages that will be read at once to memory, many at a time, as far as there is
  // room; of the segment or its current indexes. Waits for them and returns how many
  // were not there. What goes wrong is ReadPage's to report.
  virtual size_t LoadPages(const Segment& segment, std::span<const PageId> ids) = 0;
  // The same, but waits only when the result is destroyed or told to wait.
  virtual ReadPool::Pending StartLoading(std::shared_ptr<const Segment> segment,
                                         std::span<const PageId> ids) = 0;
  // The same for pages that will be needed soon: in the background, in this order, after
  // what somebody waits for. All of one layer.
  virtual void Announce(std::shared_ptr<const Segment> segment, std::span<const PageId> ids) = 0;
  // What was announced of a segment's layer will not be needed: what is not begun is left out.
  virtual void DropAnnounced(const Segment& segment, LayerIndex layer) = 0;
  // Reads pages of keys and values, named in the order in which they lie, that nobody will ask
  // for again soon: what is in memory is taken from there, the rest passes it by in large reads.
  // Calls `use` once with the payload of each ids[i], in any order.
  // Errors: as ReadPage; some were used then.
  virtual Status ScanPages(
      const Segment& segment, std::span<const PageId> ids,
      const std::function<void(size_t i, std::span<const std::byte> payload)>& use) = 0;
  // Runs `read` on a thread that is there to wait for the disk; returns at once.
  virtual ReadPool::Pending StartReading(std::function<void()> read) = 0;
  virtual uint64_t memory_budget_bytes() const = 0;
  // Looks at what the store itself takes of the budget (StoreMemory), and gives the tier the
  // rest, at least half of the budget. To be called every second or so.
  // Cost: a look at every file; the pages that leave.
  virtual void FitMemory() = 0;
  // Tokens at the chain's beginning whose keys and values are all in memory.
  virtual uint64_t ResidentTokens(const std::vector<SegmentLink>& chain) const = 0;
  // True if reading the page would do no I/O.
  virtual bool IsResident(const PageId& id) const = 0;
  // Says that these pages, which are in memory, will be read next.
  virtual void FetchFrames(std::span<const PageId> ids) const = 0;

  // Joins short segments that follow each other in chains, one run of them, as
  // ContextStoreOptions::merge says. Returns the new segment, which has no indexes yet;
  // null: nothing is to be joined. What is being read is read to its end.
  //
  // Errors: Cancelled once `should_stop` says so, then the next call tries again, as after
  //   ResourceExhausted; what the disk says. Nothing has changed then.
  // Threads: one at a time.
  virtual StatusOr<std::shared_ptr<const Segment>> MergeSegments(
      const std::function<bool()>& should_stop) = 0;

  // Every segment that some context links to.
  virtual std::vector<std::shared_ptr<const Segment>> ListSegments() const = 0;
  // False once the last context that links to the segment is deleted.
  virtual bool IsLinked(const Segment& segment) const = 0;
  // Starts an index of a segment; `version` is of the kind's own byte format. It shows
  // up in Segment::indexes when committed.
  // Errors: InvalidArgument for a kind that is not 1 .. kIndexKindMax.
  virtual StatusOr<std::unique_ptr<IndexWriter>> BeginIndex(std::shared_ptr<const Segment> segment,
                                                            uint8_t kind, uint32_t version) = 0;
  // A block of an index of the segment, as ReadPage.
  virtual StatusOr<PinnedPage> ReadIndexBlock(const Segment& segment, const StoredIndex& index,
                                              const PageId& id) = 0;

  // A consistent copy in a new directory, made while serving. Returns its bytes.
  virtual StatusOr<uint64_t> CreateBackup(const std::string& directory) = 0;
  // Reclaims space of deleted segments now. Returns the bytes freed.
  virtual StatusOr<uint64_t> Compact() = 0;

  virtual ContextStoreStats stats() const = 0;
  // Cost: looks at every context; not for metrics that are read every second.
  virtual StoreUsage usage() const = 0;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_CONTEXT_STORE_H_
