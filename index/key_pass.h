// A pass over the keys that some of several queries see, a block at a time.

#ifndef ALAYA_INDEX_KEY_PASS_H_
#define ALAYA_INDEX_KEY_PASS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/kv_reader.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// What the pass wants from a reader beside keys, to announce it.
enum class PassKinds : uint8_t { kKeys, kKeysAndValues };

struct KeyBlock {
  size_t index = 0;
  TokenRange tokens;     // from the first to the last that a query sees; empty: the pass is over
  size_t first_row = 0;  // of `tokens`, in the block
  PinnedRows keys;

  bool empty() const { return tokens.empty(); }
  // Those rows of the block's keys, or of its values.
  EncodedMatrixView Rows(const PinnedRows& block) const {
    return block.rows.rows_range(first_row, tokens.size());
  }
};

// Whoever works on one block asks for the next one first, and fetches its keys meanwhile:
// blocks are short, and the processor does not see where the next one lies.
//
// Pins: one block of keys for every KeyBlock that the caller keeps.
// Threads: one.
class KeyPass {
 public:
  // Both must outlive the pass. What lies behind the reader's tokens is seen by nobody.
  KeyPass(const KvReader* reader, std::span<const TokenRange> visible, PassKinds kinds);

  // Errors: whatever the read of a block returns.
  StatusOr<KeyBlock> Next();

 private:
  TokenRange SeenOf(size_t block) const;
  // Says now and then which blocks follow.
  void AnnounceFrom(size_t block) const;

  const KvReader& reader_;
  const std::span<const TokenRange> visible_;
  const PassKinds kinds_;
  const bool in_memory_;
  size_t first_ = 0;
  size_t next_ = 0;
  size_t end_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_KEY_PASS_H_
