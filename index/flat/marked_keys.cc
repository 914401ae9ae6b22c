#include "index/flat/marked_keys.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <vector>

#include "index/kernels/key_scores.h"
#include "index/prefetch.h"

namespace alaya {
namespace {

// A block of which more than one token in this many is marked is scored whole:
// consecutive rows cost a fraction of gathered ones.
constexpr size_t kDenseShare = 4;
// Rows of several blocks are scored together: the kernel prepares its queries anew for
// every call.
constexpr size_t kBatchRows = 256;

// So many blocks' rows are asked for before the first of them is used.
constexpr size_t kBlocksAhead = 8;

// Marked rows of a block that were asked for.
struct FetchedRows {
  ScratchBuffer<uint32_t> memory;
  std::span<const uint32_t> rows;
  uint64_t first_token = 0;
  PinnedRows block;
};

struct Scratch {
  std::vector<uint32_t> blocks;  // to read ahead
  ScratchBuffer<uint32_t> tokens;
  ScratchBuffer<std::byte> rows;
  ScratchBuffer<float> scores;
};

// Asks for chosen rows of a block, which lie anywhere in memory: all of them at once, as
// each takes long to come.
void FetchRows(EncodedMatrixView block, std::span<const uint32_t> rows) {
  for (const uint32_t row : rows) Prefetch(block.row(row), block.row_bytes());
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

// Copies rows next to each other, so that the kernel for blocks scores them.
class Batch {
 public:
  Batch(size_t rows_max, Scratch& scratch, Scorer& scorer)
      : scratch_(scratch), scorer_(scorer), tokens_(scratch.tokens.Take(rows_max)) {}

  // Takes the rows, and lets their block go.
  void Add(FetchedRows& fetched) {
    if (fetched.rows.empty()) return;
    const EncodedMatrixView block = fetched.block.rows;
    if (count_ + fetched.rows.size() > tokens_.size()) Score();
    const size_t row_bytes = block.row_bytes();
    std::byte* copies = scratch_.rows.Take(tokens_.size() * row_bytes).data();
    view_ = {copies, 0, block.cols, block.dtype};
    for (const uint32_t row : fetched.rows) {
      std::memcpy(copies + count_ * row_bytes, block.row(row), row_bytes);
      tokens_[count_++] = static_cast<uint32_t>(fetched.first_token) + row;
    }
    fetched.rows = {};
    fetched.block = {};
  }

  void Score() {
    view_.rows = count_;
    scorer_.Score(tokens_.first(count_), view_);
    count_ = 0;
  }

 private:
  Scratch& scratch_;
  Scorer& scorer_;
  const std::span<uint32_t> tokens_;
  size_t count_ = 0;
  EncodedMatrixView view_;
};

// Announces the next blocks with marks from block `first` on; returns the one behind them.
size_t ReadBlocksAhead(const KvReader& keys, const TokenMarks& marks, size_t first,
                       std::vector<uint32_t>* blocks) {
  const size_t block_tokens = keys.block_tokens();
  blocks->clear();
  size_t b = first;
  for (; b < keys.block_count() && blocks->size() < KvReader::kReadAheadBlocks; ++b) {
    const size_t end = std::min((b + 1) * block_tokens, keys.token_count());
    uint32_t token = 0;
    if (marks.List(b * block_tokens, end, {&token, 1}) > 0) {
      blocks->push_back(static_cast<uint32_t>(b));
    }
  }
  if (!blocks->empty()) keys.ReadAhead(KvKind::kKey, *blocks);
  return b;
}

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
  Scorer scorer(queries, use, scratch);
  Batch batch(std::max(kBatchRows, block_tokens), scratch, scorer);
  // The rows of some blocks come while those of the block before them are copied.
  std::array<FetchedRows, kBlocksAhead + 1> fetched;
  size_t next_place = 0;
  const auto add_all = [&] {
    for (size_t i = 1; i < fetched.size(); ++i) {
      batch.Add(fetched[(next_place + i) % fetched.size()]);
    }
  };
  size_t read_ahead_end = 0;  // blocks before it are announced
  for (size_t b = 0; b < keys.block_count(); ++b) {
    if (b == read_ahead_end) read_ahead_end = ReadBlocksAhead(keys, marks, b, &scratch.blocks);
    const size_t begin = b * block_tokens;
    const size_t size = std::min(block_tokens, keys.token_count() - begin);
    FetchedRows& next = fetched[next_place];
    std::span<uint32_t> rows = next.memory.Take(size);
    rows = rows.first(marks.List(begin, begin + size, rows));
    if (rows.empty()) continue;
    ALAYA_ASSIGN_OR_RETURN(next.block, keys.ReadBlock(KvKind::kKey, b));
    if (rows.size() * kDenseShare > size) {
      add_all();
      batch.Score();
      rows = next.memory.Take(size);
      std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(begin));
      scorer.Score(rows, next.block.rows);
      next.block = {};
      continue;
    }
    next.rows = rows;
    next.first_token = begin;
    FetchRows(next.block.rows, rows);
    next_place = (next_place + 1) % fetched.size();
    batch.Add(fetched[next_place]);
  }
  add_all();
  batch.Score();
  return scorer.scored();
}

}  // namespace alaya
