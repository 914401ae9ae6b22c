// The keys of one layer of a long tail, indexed as they come.
//
// A tail of many thousand tokens (a long generation, a prompt without a stored prefix)
// would cost every query a scan of all of it. The flat index grows with the tail; the
// window's last tokens are attended exactly all the same.

#ifndef ALAYA_SERVER_ENGINE_TAIL_INDEX_H_
#define ALAYA_SERVER_ENGINE_TAIL_INDEX_H_

#include <cstdint>
#include <deque>

#include "index/flat/flat_index.h"
#include "index/token_index.h"
#include "server/engine/tail.h"
#include "server/engine/tail_budget.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Life: Extend after tokens were appended; Truncate before others take the place of
// forgotten ones. Threads: as Tail.
class TailIndex {
 public:
  // `tail` must outlive the index and not move; `budget` must outlive it.
  TailIndex(const Tail& tail, LayerIndex layer, uint32_t kv_head_count, size_t head_dim,
            TailBudget* budget);
  ~TailIndex();
  TailIndex(const TailIndex&) = delete;
  TailIndex& operator=(const TailIndex&) = delete;

  // Errors: ResourceExhausted if the budget has no room, and what the index says; only
  //   destruction makes sense then.
  Status Extend();
  void Truncate(uint64_t token_count);

  const TokenIndex& head(KvHeadIndex head) const { return heads_[ToInt(head)].index; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Head {
    Head(const Tail& tail, LayerIndex layer, KvHeadIndex head, size_t head_dim)
        : reader(tail, layer, head, head_dim), index(&reader) {}
    TailReader reader;
    GrowingFlatIndex index;
  };

  std::deque<Head> heads_;  // they do not move
  TailBudget* budget_;
  uint64_t bytes_ = 0;  // reserved
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TAIL_INDEX_H_
