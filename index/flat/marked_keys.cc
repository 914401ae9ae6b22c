#include "index/flat/marked_keys.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "index/kernels/key_scores.h"

namespace alaya {
namespace {

// A block of which more than one token in this many is marked is scored whole:
// consecutive rows cost a fraction of gathered ones.
constexpr size_t kDenseShare = 4;
// Rows that are asked for ahead of the one being copied: enough to cover the latency of
// memory, few enough for the processor's queue.
constexpr size_t kRowsAhead = 8;

// Rows of several blocks are scored together: the kernel prepares its queries anew for
// every call.
constexpr size_t kBatchRows = 256;

struct Scratch {
  ScratchBuffer<uint32_t> block_rows;
  ScratchBuffer<uint32_t> tokens;
  ScratchBuffer<std::byte> rows;
  ScratchBuffer<float> scores;
};

void PrefetchRow(const std::byte* row, size_t row_bytes) {
  for (size_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(row + line, 0, 3);
}

// Copies chosen rows next to each other, so that the kernel for blocks scores them.
void CopyRows(EncodedMatrixView block, std::span<const uint32_t> rows, std::byte* copies) {
  const size_t row_bytes = block.row_bytes();
  for (size_t i = 0; i < std::min(kRowsAhead, rows.size()); ++i) {
    PrefetchRow(block.row(rows[i]), row_bytes);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i + kRowsAhead < rows.size()) PrefetchRow(block.row(rows[i + kRowsAhead]), row_bytes);
    std::memcpy(copies + i * row_bytes, block.row(rows[i]), row_bytes);
  }
}

// Scores rows and gives them to `use`; counts what it scores.
class Scorer {
 public:
  Scorer(MatrixView<const float> queries, const UseScores& use, Scratch& scratch)
      : queries_(queries), use_(use), scratch_(scratch) {}

  void Score(std::span<const uint32_t> tokens, EncodedMatrixView rows) {
    if (tokens.empty()) return;
    const MatrixView<float> scores(scratch_.scores.Take(queries_.rows() * tokens.size()).data(),
                                   queries_.rows(), tokens.size());
    KeyScores(queries_, rows, scores);
    use_(tokens, scores);
    scored_ += queries_.rows() * tokens.size();
  }
  uint64_t scored() const { return scored_; }

 private:
  const MatrixView<const float> queries_;
  const UseScores& use_;
  Scratch& scratch_;
  uint64_t scored_ = 0;
};

}  // namespace

void TokenMarks::Reset(size_t token_count) {
  words_ = buffer_.Take((token_count + 63) / 64);
  std::ranges::fill(words_, uint64_t{0});
}

size_t TokenMarks::List(size_t begin, size_t end, std::span<uint32_t> tokens) const {
  size_t count = 0;
  for (size_t word = begin / 64; word * 64 < end; ++word) {
    uint64_t bits = words_[word];
    if (word * 64 < begin) bits &= ~uint64_t{0} << begin % 64;
    if (word * 64 + 64 > end) bits &= ~uint64_t{0} >> (64 - end % 64);
    for (; bits != 0 && count < tokens.size(); bits &= bits - 1) {
      const size_t token = word * 64 + static_cast<size_t>(std::countr_zero(bits));
      tokens[count++] = static_cast<uint32_t>(token - begin);
    }
  }
  return count;
}

StatusOr<uint64_t> ScoreMarkedKeys(const KvReader& keys, const TokenMarks& marks,
                                   MatrixView<const float> queries, const UseScores& use) {
  thread_local Scratch scratch;
  const size_t block_tokens = keys.block_tokens();
  const size_t batch_max = std::max(kBatchRows, block_tokens);
  const std::span<uint32_t> batch = scratch.tokens.Take(batch_max);
  size_t batched = 0;
  EncodedMatrixView copies;  // of the batch's rows
  Scorer scorer(queries, use, scratch);
  const auto score_batch = [&] {
    copies.rows = batched;
    scorer.Score(batch.first(batched), copies);
    batched = 0;
  };
  for (size_t b = 0; b < keys.block_count(); ++b) {
    const size_t begin = b * block_tokens;
    const size_t size = std::min(block_tokens, keys.token_count() - begin);
    std::span<uint32_t> rows = scratch.block_rows.Take(size);
    rows = rows.first(marks.List(begin, begin + size, rows));
    if (rows.empty()) continue;
    const bool is_dense = rows.size() * kDenseShare > size;
    if (is_dense || batched + rows.size() > batch_max) score_batch();
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows pinned, keys.ReadBlock(KvKind::kKey, b));
    if (is_dense) {
      rows = scratch.block_rows.Take(size);
      std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(begin));
      scorer.Score(rows, pinned.rows);
      continue;
    }
    const size_t row_bytes = pinned.rows.row_bytes();
    copies = {scratch.rows.Take(batch_max * row_bytes).data(), 0, pinned.rows.cols,
              pinned.rows.dtype};
    CopyRows(pinned.rows, rows,
             scratch.rows.Take(batch_max * row_bytes).data() + batched * row_bytes);
    for (const uint32_t row : rows) batch[batched++] = static_cast<uint32_t>(begin) + row;
  }
  score_batch();
  return scorer.scored();
}

}  // namespace alaya
