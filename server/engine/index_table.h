// The opened indexes of all segments in use.

#ifndef ALAYA_SERVER_ENGINE_INDEX_TABLE_H_
#define ALAYA_SERVER_ENGINE_INDEX_TABLE_H_

#include <cstddef>
#include <memory>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "server/engine/index_kinds.h"
#include "server/engine/open_indexes.h"
#include "storage/context/context_store.h"

namespace alaya {

// Threads: any.
class IndexTable {
 public:
  // `store` must outlive the table and what it gave out; `listener` may be null.
  IndexTable(ContextStore* store, IndexKindTable kinds, IndexDamageListener listener)
      : store_(store), kinds_(std::move(kinds)), listener_(std::move(listener)) {}
  IndexTable(const IndexTable&) = delete;
  IndexTable& operator=(const IndexTable&) = delete;

  const IndexKindTable& kinds() const { return kinds_; }

  // The segment's indexes, for as long as the caller holds the segment too.
  // Cost: a shared lock and a lookup.
  std::shared_ptr<OpenIndexes> Find(const std::shared_ptr<const Segment>& segment);

 private:
  struct Entry {
    std::weak_ptr<const Segment> segment;
    std::shared_ptr<OpenIndexes> indexes;
  };

  ContextStore* const store_;
  const IndexKindTable kinds_;
  const IndexDamageListener listener_;

  std::shared_mutex mutex_;
  // Entries of dead segments leave when a new one comes.
  std::unordered_map<SegmentId, Entry> entries_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_INDEX_TABLE_H_
