// Exact scores of marked tokens.

#ifndef ALAYA_INDEX_FLAT_MARKED_KEYS_H_
#define ALAYA_INDEX_FLAT_MARKED_KEYS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "index/gather_pins.h"
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

  // Clears those in [begin, end), where begin is a multiple of 64 and no mark lies behind end.
  void Clear(size_t begin, size_t end);

  void Mark(size_t token) { words_[token / 64] |= uint64_t{1} << token % 64; }
  void MarkAll(std::span<const uint32_t> tokens) {
    for (const uint32_t token : tokens) Mark(token);
  }
  // The bits of tokens from `first_token` on, a multiple of 64.
  uint64_t* WordsFrom(size_t first_token) { return words_.data() + first_token / 64; }
  // The first marked token in [begin, end); end if there is none.
  size_t Next(size_t begin, size_t end) const;
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
// Life: construction -> ScoreBefore as marks come -> Finish. One at a time in a thread.
// Guarantees: blocks without a mark are not read; no more are pinned at a time than GatherPins
//   holds.
// Errors: whatever a block read returns.
class MarkedKeyScorer {
 public:
  // All arguments must outlive this.
  MarkedKeyScorer(const KvReader* keys, const TokenMarks* marks, MatrixView<const float> queries,
                  const UseScores* use);
  MarkedKeyScorer(const MarkedKeyScorer&) = delete;
  MarkedKeyScorer& operator=(const MarkedKeyScorer&) = delete;

  // No further token before `token_end` will be marked: asks for the keys of those that are, and
  // scores what came meanwhile.
  Status ScoreBefore(uint64_t token_end);
  // Scores all that is left. Returns how many scores were computed.
  StatusOr<uint64_t> Finish();

 private:
  // Rows of a few blocks that were asked for.
  struct Batch {
    std::vector<uint32_t> tokens;  // [at least count], as the next one
    std::vector<const std::byte*> rows;
    size_t count = 0;
  };
  struct Scratch {
    Batch batch;
    std::vector<uint32_t> blocks;  // to take
    ScratchBuffer<uint32_t> rows;
    ScratchBuffer<float> scores;
  };
  static Scratch& ThreadScratch();

  // One that has marks.
  Status TakeBlock(size_t block);
  // Those before `block_end`, which have all their marks.
  Status TakeBlocks(size_t block_end);
  // Lists the next few blocks with marks before `block_end`, and goes behind them.
  void ListBlocks(size_t block_end);
  void ScoreBatch();
  void Use(std::span<const uint32_t> tokens, MatrixView<const float> scores);
  MatrixView<float> ScoresOf(std::span<const uint32_t> tokens);

  const KvReader& keys_;
  const bool is_in_memory_;
  const size_t block_tokens_;
  const size_t token_count_;
  const TokenMarks& marks_;
  const MatrixView<const float> queries_;
  const UseScores& use_;
  Scratch& scratch_;
  GatherPins pins_;  // of the batch
  size_t next_block_ = 0;
  DType dtype_ = DType::kF32;
  uint64_t scored_ = 0;
};

// The same for marks that are all there.
StatusOr<uint64_t> ScoreMarkedKeys(const KvReader& keys, const TokenMarks& marks,
                                   MatrixView<const float> queries, const UseScores& use);

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_MARKED_KEYS_H_
