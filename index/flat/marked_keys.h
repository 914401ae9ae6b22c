// Exact scores of marked tokens.

#ifndef ALAYA_INDEX_FLAT_MARKED_KEYS_H_
#define ALAYA_INDEX_FLAT_MARKED_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "index/kv_reader.h"
#include "index/scratch_buffer.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// A set of tokens [0, token_count), one bit each.
class TokenMarks {
 public:
  // Clears all.
  void Reset(size_t token_count);

  void Mark(size_t token) { words_[token / 64] |= uint64_t{1} << token % 64; }
  void MarkAll(std::span<const uint32_t> tokens) {
    for (const uint32_t token : tokens) Mark(token);
  }
  // Writes the marked tokens in [begin, end), minus begin, to `tokens` by rising number,
  // as many as there is room for; returns how many.
  size_t List(size_t begin, size_t end, std::span<uint32_t> tokens) const;

 private:
  ScratchBuffer<uint64_t> buffer_;
  std::span<uint64_t> words_;
};

// Scores of consecutive calls rise in token; scores[i][j] is query i with tokens[j].
using UseScores =
    std::function<void(std::span<const uint32_t> tokens, MatrixView<const float> scores)>;

// Scores the marked tokens of `keys` for every query, as KeyScores does, to the last bit.
// Where most of a block is marked, all of it is scored, and given to `use`.
//
// Guarantees: blocks without a mark are not read; at most nine are pinned at a time.
// Errors: whatever a block read returns.
// Returns: how many scores were computed.
StatusOr<uint64_t> ScoreMarkedKeys(const KvReader& keys, const TokenMarks& marks,
                                   MatrixView<const float> queries, const UseScores& use);

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_MARKED_KEYS_H_
