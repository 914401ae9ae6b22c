// What is stored: models, contexts and which segments they link to; in memory, and
// in the database's catalog.
//
// Reads take a shared lock for a moment. Changes go one at a time: build a batch,
// write it durably without any lock that readers want, then change the memory. A
// context is never visible before it is durable.

#ifndef ALAYA_STORAGE_CONTEXT_CATALOG_H_
#define ALAYA_STORAGE_CONTEXT_CATALOG_H_

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/context/catalog_records.h"
#include "storage/context/context_store.h"
#include "storage/context/merge_policy.h"
#include "storage/context/prefix_tree.h"
#include "storage/context/segment_reaper.h"
#include "storage/context/stored_context.h"
#include "storage/context/token_reader.h"
#include "storage/database/database.h"
#include "storage/types/status.h"

namespace alaya {

class Catalog {
 public:
  // A context's name; unique within its tenant.
  using ContextName = std::pair<std::string, std::string>;  // tenant, id
  using ContextPointer = std::shared_ptr<const StoredContext>;
  using ModelPointer = std::shared_ptr<const RegisteredModel>;

  // Reads the catalog; erases segments that no context links to. All must outlive it.
  // Errors: DataLoss if a record is damaged or missing.
  static StatusOr<std::unique_ptr<Catalog>> Load(Database* database, const TokenReader* tokens,
                                                 const SegmentReaper* reaper,
                                                 const MergeOptions& merge);
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  // As ContextStore's.
  StatusOr<bool> RegisterModel(const Model& model);
  StatusOr<ModelPointer> FindModel(std::string_view name) const;
  std::vector<ModelPointer> ListModels() const;
  StatusOr<ContextPointer> FindContext(std::string_view tenant, std::string_view id) const;
  StatusOr<PrefixMatch> MatchPrefix(std::string_view tenant, ModelId model,
                                    std::span<const TokenId> tokens, WallTime now) const;
  std::vector<ContextPointer> ListContexts(const ContextFilter& filter, std::string_view after_id,
                                           size_t limit) const;
  std::vector<std::string> ListTenants() const;
  StatusOr<ContextPointer> UpdateContext(std::string_view tenant, std::string_view id,
                                         const ContextUpdate& update);
  StatusOr<uint64_t> DeleteContext(std::string_view tenant, std::string_view id);
  StatusOr<size_t> DeleteExpired(WallTime now);
  // Deletes contexts that are not pinned and carry the label (an empty name: any), those
  // unused for longest first, until at most target_bytes are stored. Returns how many.
  StatusOr<size_t> Evict(uint64_t target_bytes, const std::pair<std::string, std::string>& label);
  StoreUsage Usage() const;
  uint64_t StoredBytes(std::string_view tenant) const;

  // A number that no segment ever had, not even in a process that crashed.
  StatusOr<SegmentId> AllocateSegmentId();

  // Keeps a name for a writer. Errors: AlreadyExists.
  Status ReserveName(const ContextName& name);
  void ReleaseName(const ContextName& name);

  // Tokens of a segment that the catalog does not have yet.
  struct NewTokens {
    const Segment* segment = nullptr;      // null: there are none
    std::span<const TokenId> tokens = {};  // all of the segment's
  };
  // Makes a context durable and visible, with those of its segments that the catalog
  // does not name (a new one, whose tokens are given, and ones that outlived their contexts).
  // Their pages must be durable. Links to segments that were joined meanwhile are replaced.
  // Requires a reserved name.
  Status Commit(const std::shared_ptr<StoredContext>& context, const NewTokens& new_tokens);

  // The next run of short segments to be joined, of the contexts that were made since the
  // last call; empty: none, then all of them were looked at.
  std::vector<std::shared_ptr<const Segment>> TakeMergeRun();
  // Looks at the contexts that end in the segment again.
  void RetryMerge(const Segment& segment);
  // Has every context that links to the run, segments that follow each other, link to
  // `merged`, which holds all their `tokens`. Its pages must be durable.
  // Errors: NotFound if no context links to one of the run any more.
  Status ReplaceRun(const std::vector<std::shared_ptr<const Segment>>& run,
                    const std::shared_ptr<const Segment>& merged, std::span<const TokenId> tokens);

  // Erases the tokens of a segment that no context links to and nobody holds.
  Status EraseTokens(SegmentId id, uint64_t token_count);

  // Makes an index of a segment durable, then visible. Its pages must be durable.
  // Errors: NotFound if no context links to the segment.
  Status CommitIndex(const Segment& segment, std::shared_ptr<const StoredIndex> index);

  // Whether some context links to the segment, or to the segment with this index.
  bool IsLinked(SegmentId id) const;
  std::vector<std::shared_ptr<const Segment>> ListSegments() const;

  struct Counts {
    uint64_t models = 0;
    uint64_t contexts = 0;
    uint64_t segments = 0;
    uint64_t stored_tokens = 0;
    uint64_t stored_bytes = 0;
    std::array<IndexCount, kIndexKindMax + 1> indexes{};  // by kind
  };
  Counts counts() const;
  // About what all of this takes in memory.
  uint64_t memory_bytes() const;

 private:
  // Falling create time, then rising id.
  using ListKey = std::pair<int64_t, std::string>;
  struct LinkedSegment {
    uint64_t link_count = 0;
    std::shared_ptr<const Segment> segment;
    // What follows it in chains, and in how many.
    std::vector<std::pair<SegmentId, uint64_t>> successors;
  };
  // A write that failed and could not be undone: it may show after a restart. Until
  // it is undone the pages that it names are kept, so that it would show whole.
  struct PendingUndo {
    CatalogBatch batch;
    std::shared_ptr<const void> kept;
  };
  struct LoadedRecords;

  Catalog(Database* database, const TokenReader* tokens, const SegmentReaper* reaper,
          const MergeOptions& merge);

  static ListKey MakeListKey(const StoredContext& context);
  StatusOr<LoadedRecords> ReadRecords() const;
  StatusOr<std::map<SegmentId, std::shared_ptr<const Segment>>> BuildSegments(
      const LoadedRecords& records) const;
  static Status CheckTokens(const LoadedRecords& records, const SegmentRecord& segment);
  Status AddIndexes(const std::vector<IndexRecord>& records, const Segment& segment) const;
  Status BuildContexts(const LoadedRecords& records);

  // Require write_mutex_.
  Status WriteDurably(const CatalogBatch& batch, CatalogBatch undo,
                      std::shared_ptr<const void> named);
  Status WritePendingUndos();
  StatusOr<uint64_t> DeleteContexts(const std::vector<ContextPointer>& contexts);
  std::vector<SegmentLink> CurrentChain(const std::vector<SegmentLink>& chain) const;
  StatusOr<PrefixTree::Place> FindPlace(const StoredContext& context, const NewTokens& new_tokens);

  // Require state_mutex_.
  ContextPointer Find(const ContextName& name) const;
  PrefixTree& TreeOf(const StoredContext& context);
  void AddToMemory(const ContextPointer& context, const PrefixTree::Place& place);
  // `updated` is another snapshot of the same, with the same tokens.
  void ReplaceInMemory(const ContextPointer& old, const ContextPointer& updated);
  void RemoveFromMemory(const ContextPointer& context);
  void AddExpiry(const StoredContext& context);
  void AddLinks(const std::vector<SegmentLink>& chain);
  void RemoveLinks(const std::vector<SegmentLink>& chain);
  void CountSuccessors(const std::vector<SegmentLink>& chain, int64_t change);
  void RememberPosition(const StoredContext& deleted);
  ListKey ListPosition(const ContextName& name) const;

  Database* const database_;
  const TokenReader* const tokens_;
  const SegmentReaper* const reaper_;
  const MergeOptions merge_;

  std::mutex write_mutex_;  // before state_mutex_; one change at a time
  std::vector<PendingUndo> pending_undos_;
  uint64_t next_segment_id_ = 1;
  uint64_t segment_id_limit_ = 1;  // durable: ids below may have been used

  // Guards what follows. Written only with write_mutex_ held, so a writer may read
  // without it.
  mutable std::shared_mutex state_mutex_;
  std::map<std::string, ModelPointer, std::less<>> models_;
  std::map<ContextName, ContextPointer> contexts_;
  uint64_t contexts_memory_bytes_ = 0;
  std::map<std::string, std::map<ListKey, ContextPointer>, std::less<>> lists_;  // by tenant
  std::map<std::pair<std::string, ModelId>, PrefixTree> trees_;
  std::set<std::pair<WallTime, ContextName>> expiries_;
  std::map<SegmentId, LinkedSegment> segments_;
  std::set<SegmentId> index_ids_;  // current indexes of segments_
  std::set<ContextName> reserved_names_;
  // Contexts in whose chains there may be something to join.
  std::set<ContextName> unmerged_names_;
  // Where lists go on after a context that was deleted since.
  std::map<ContextName, ListKey> deleted_positions_;
  std::deque<ContextName> deleted_names_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_CATALOG_H_
