// One layer of a sequence, ready for the mathematics: for every kv head the visible
// parts of the chain, each with its planned index, and the session's tail, with its own
// index if it is long.

#ifndef ALAYA_SERVER_ENGINE_SEQUENCE_VIEW_H_
#define ALAYA_SERVER_ENGINE_SEQUENCE_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "index/exact_index.h"
#include "index/sequence_part.h"
#include "server/engine/attend_types.h"
#include "server/engine/index_kinds.h"
#include "server/engine/index_table.h"
#include "server/engine/open_indexes.h"
#include "server/engine/segment_reader.h"
#include "server/engine/tail.h"
#include "storage/context/context_store.h"

namespace alaya {

// What a view is made of; all of it must outlive the view.
struct SequenceSource {
  ContextStore* store = nullptr;
  IndexTable* indexes = nullptr;  // null: only exact search
  const Model* model = nullptr;
  const std::vector<SegmentLink>* chain = nullptr;
  const Tail* tail = nullptr;  // null: none
  LayerIndex layer{};
};

class SequenceView {
 public:
  // Leaves parts out that have no token in `visible`.
  SequenceView(const SequenceSource& source, TokenRange visible);
  SequenceView(const SequenceView&) = delete;
  SequenceView& operator=(const SequenceView&) = delete;

  // The parts of one kv head: the visible segments in token order, then the tail.
  std::span<const SequencePart> parts(KvHeadIndex head) const { return heads_[ToInt(head)].parts; }

  // The visible segments; parts(head)[i] belongs to segment i.
  size_t segment_count() const { return segments_.size(); }
  const SegmentLink& link(size_t i) const { return *segments_[i].link; }
  LayerIndex layer() const { return layer_; }
  // Visible tokens of a segment, in sequence positions.
  TokenRange segment_tokens(size_t i) const { return segments_[i].tokens; }
  uint64_t tail_token_count() const { return tail_token_count_; }

  // How segment i can be searched: kExact always, and the indexes that are built.
  IndexKindSet available(size_t i) const;
  // What becomes of a segment that no index searches: its keys are scanned, or, where what is not
  // attended has to be estimated, all of it is attended.
  enum class WithoutIndex : uint8_t { kScan, kAttendAll };

  // Searches segment i with this kind, in all heads; before, the choice is kExact by scan. An
  // index that turns out damaged now is as good as none; in a search it is replaced by the scan.
  //
  // Requires: available(i) contains it. Threads: before anyone reads parts().
  // Cost: opens the layer's indexes when asked for the first time in a segment's
  //   life; later far below a microsecond per head.
  void Choose(size_t i, IndexKind kind, WithoutIndex without = WithoutIndex::kScan);
  // Bytes of this layer's index of segment i, all heads; 0 for kExact.
  uint64_t IndexBytes(size_t i, IndexKind kind) const;

  // Share of a segment's visible keys, or of an index's blocks, in memory, by sample.
  double ResidentShare(size_t i, IndexKind kind = IndexKind::kExact) const;
  // Says that segment i is in memory, so that reading it need not look ahead.
  // Threads: before anyone reads parts().
  void ExpectInMemory(size_t i) {
    for (Head& head : heads_) head.readers[i].ExpectInMemory();
  }
  // Says that segment i was brought from disk for this view.
  // Threads: before anyone reads parts().
  void ServeFromDisk(size_t i) { segments_[i].served_from_disk = true; }
  // Where the blocks read so far came from. Blocks that others read of the same
  // segment's index meanwhile count too.
  Tier tier(size_t i) const;

 private:
  struct Head {
    // Deques, because readers do not move and parts point at them.
    std::deque<SegmentReader> readers;
    std::deque<ExactIndex> indexes;
    std::optional<TailReader> tail_reader;
    std::vector<SequencePart> parts;
  };

  // A visible segment, its indexes and how it is searched.
  struct SegmentPart {
    const SegmentLink* link = nullptr;
    TokenRange tokens;  // visible ones
    std::shared_ptr<OpenIndexes> indexes;
    uint64_t disk_reads_before = 0;  // of its indexes
    bool served_from_disk = false;
  };

  LayerIndex layer_;
  std::vector<SegmentPart> segments_;
  uint64_t tail_token_count_ = 0;
  std::deque<Head> heads_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SEQUENCE_VIEW_H_
