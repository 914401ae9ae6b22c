// The blocks of a flat index that have groups to be scanned, read some way ahead.

#ifndef ALAYA_INDEX_FLAT_OPEN_BLOCKS_H_
#define ALAYA_INDEX_FLAT_OPEN_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "index/flat/flat_search.h"
#include "index/kernels/code_scores.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

struct OpenBlock {
  PinnedFlatBlock pinned;
  size_t block = 0;
  TokenRange places;             // of its groups' tokens among those of all groups to be scanned
  std::vector<uint32_t> groups;  // counted from the block's first, by rising number; at least one

  ListedCodes listed() const { return {pinned.block.codes, groups}; }
};

// Life: construction -> Next until it is false; in between current and upcoming.
class OpenBlocks {
 public:
  // `groups` of the index, by rising number. Both arguments must outlive this.
  OpenBlocks(const FlatSource* source, std::span<const uint32_t> groups)
      : source_(*source), groups_(groups) {}

  // Goes to the next block. Errors: whatever a block read returns.
  StatusOr<bool> Next();
  const OpenBlock& current() const { return blocks_.front(); }
  // Those after it, with as many groups as scans ask for ahead, or all there are.
  std::span<const ListedCodes> upcoming() const { return upcoming_; }

 private:
  static constexpr size_t kGroupsAhead = 4;

  Status ReadOne();

  const FlatSource& source_;
  const std::span<const uint32_t> groups_;
  size_t read_ = 0;  // of the groups
  bool has_current_ = false;
  std::deque<OpenBlock> blocks_;
  std::vector<ListedCodes> upcoming_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_OPEN_BLOCKS_H_
