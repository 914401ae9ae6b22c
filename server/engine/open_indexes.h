// The indexes of one stored segment, opened: each once, when a query first wants it,
// and then shared by all queries.
//
// An index is a help, never needed for an answer: one that turns out damaged, while it
// is opened or searched, is reported and replaced by the exact scan at once.

#ifndef ALAYA_SERVER_ENGINE_OPEN_INDEXES_H_
#define ALAYA_SERVER_ENGINE_OPEN_INDEXES_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "index/token_index.h"
#include "server/engine/index_kinds.h"
#include "storage/context/context_store.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// An index that could not be used; `status` says why.
using IndexDamageListener =
    std::function<void(SegmentId segment, IndexKind kind, const Status& status)>;

class OpenIndexes {
 public:
  // All of it must outlive the result. `listener` is called once per damaged index.
  OpenIndexes(ContextStore* store, const Segment& segment, const IndexKindTable* kinds,
              const IndexDamageListener* listener);
  ~OpenIndexes();
  OpenIndexes(const OpenIndexes&) = delete;
  OpenIndexes& operator=(const OpenIndexes&) = delete;

  // Threads: any, for all that follows.

  // Kinds that are built, in a version that this program reads, and not damaged.
  IndexKindSet available() const;

  // The index of one head, valid as long as this. Null if the kind is not available.
  // Cost: a few loads; the first call for a layer opens the indexes of its heads.
  const TokenIndex* Find(IndexKind kind, LayerIndex layer, KvHeadIndex head);

  // Of a layer's indexes of all heads, about; 0 if the kind is not available.
  uint64_t bytes(IndexKind kind, LayerIndex layer) const;
  // Share of a layer's index blocks in memory, by sample; 1 without any.
  double ResidentShare(IndexKind kind, LayerIndex layer) const;

  // Blocks that searches of these indexes read from disk so far.
  uint64_t disk_reads() const { return disk_reads_.load(std::memory_order_relaxed); }

 private:
  class GuardedIndex;
  struct OpenKind;

  // Null if there is none that can be used.
  const StoredIndex* Stored(IndexKind kind) const;
  OpenKind* FindOrMake(IndexKind kind, const StoredIndex& stored);
  void OpenLayer(OpenKind* kind, LayerIndex layer);
  void ReportDamage(OpenKind* kind, const Status& status);

  ContextStore* const store_;
  const Segment& segment_;
  const IndexKindTable* const kinds_;
  const IndexDamageListener* const listener_;
  std::atomic<uint64_t> disk_reads_{0};

  std::array<std::atomic<OpenKind*>, kIndexKindMax + 1> current_{};
  std::mutex mutex_;
  // An index that was replaced stays: a search may still be using it.
  std::vector<std::unique_ptr<OpenKind>> held_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_OPEN_INDEXES_H_
