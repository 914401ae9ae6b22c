#include "index/flat/marked_keys.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "index/kernels/key_scores.h"
#include "index/prefetch.h"

namespace alaya {
namespace {

// A block of which more than one token in this many is marked is scored whole:
// consecutive rows cost a fraction of gathered ones.
constexpr size_t kDenseShare = 4;
// Rows of several blocks are scored together, in so many or a few more: the kernel prepares its
// queries anew for every call.
constexpr size_t kBatchRows = 64;

}  // namespace

void TokenMarks::Reset(size_t token_count) {
  words_ = buffer_.Take((token_count + 63) / 64);
  std::ranges::fill(words_, uint64_t{0});
}

void TokenMarks::Clear(size_t begin, size_t end) {
  std::ranges::fill(words_.subspan(begin / 64, (end + 63) / 64 - begin / 64), uint64_t{0});
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

MarkedKeyScorer::Scratch& MarkedKeyScorer::ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

void MarkedKeyScorer::Batch::Clear() {
  tokens.clear();
  rows.clear();
  for (; block_count > 0; --block_count) blocks[block_count - 1] = {};
}

MarkedKeyScorer::MarkedKeyScorer(const KvReader* keys, const TokenMarks* marks,
                                 MatrixView<const float> queries, const UseScores* use)
    : keys_(*keys),
      is_in_memory_(keys->IsInMemory()),
      marks_(*marks),
      queries_(queries),
      use_(*use),
      scratch_(ThreadScratch()) {}

MarkedKeyScorer::~MarkedKeyScorer() { scratch_.batch.Clear(); }

Status MarkedKeyScorer::ScoreBefore(uint64_t token_end) {
  return TakeBlocks(token_end / keys_.block_tokens());
}

StatusOr<uint64_t> MarkedKeyScorer::Finish() {
  ALAYA_RETURN_IF_ERROR(TakeBlocks(keys_.block_count()));
  ScoreBatch();
  return scored_;
}

Status MarkedKeyScorer::TakeBlocks(size_t block_end) {
  while (next_block_ < block_end) {
    if (next_block_ >= read_ahead_end_) ReadBlocksAhead(block_end);
    ALAYA_RETURN_IF_ERROR(TakeBlock(next_block_++));
  }
  return OkStatus();
}

// Announces the next blocks with marks.
void MarkedKeyScorer::ReadBlocksAhead(size_t block_end) {
  const size_t block_tokens = keys_.block_tokens();
  std::vector<uint32_t>& blocks = scratch_.blocks;
  blocks.clear();
  size_t b = next_block_;
  for (; b < block_end && blocks.size() < KvReader::kReadAheadBlocks; ++b) {
    const size_t end = std::min((b + 1) * block_tokens, keys_.token_count());
    uint32_t token = 0;
    if (marks_.List(b * block_tokens, end, {&token, 1}) > 0) {
      blocks.push_back(static_cast<uint32_t>(b));
    }
  }
  if (!blocks.empty()) keys_.Announce(KvKind::kKey, blocks, is_in_memory_);
  read_ahead_end_ = b;
}

Status MarkedKeyScorer::TakeBlock(size_t block) {
  const size_t begin = block * keys_.block_tokens();
  const size_t size = std::min(keys_.block_tokens(), keys_.token_count() - begin);
  const std::span<uint32_t> room = scratch_.rows.Take(size);
  const std::span<const uint32_t> rows = room.first(marks_.List(begin, begin + size, room));
  if (rows.empty()) return OkStatus();
  ALAYA_ASSIGN_OR_RETURN(PinnedRows keys, keys_.ReadBlock(KvKind::kKey, block));
  if (rows.size() * kDenseShare > size) {
    ScoreBatch();
    std::iota(room.begin(), room.end(), static_cast<uint32_t>(begin));
    const MatrixView<float> scores = ScoresOf(room);
    KeyScores(queries_, keys.rows, scores);
    Use(room, scores);
    return OkStatus();
  }
  Batch& batch = scratch_.batch;
  for (const uint32_t row : rows) {
    batch.tokens.push_back(static_cast<uint32_t>(begin) + row);
    batch.rows.push_back(keys.rows.row(row));
    if (batch.rows.size() <= kGatherAheadRows) {
      Prefetch(batch.rows.back(), keys.rows.row_bytes());
    }
  }
  dtype_ = keys.rows.dtype;
  batch.blocks[batch.block_count++] = std::move(keys);
  if (batch.block_count == kBatchBlocks || batch.rows.size() >= kBatchRows) ScoreBatch();
  return OkStatus();
}

void MarkedKeyScorer::ScoreBatch() {
  Batch& batch = scratch_.batch;
  if (batch.rows.empty()) return;
  const MatrixView<float> scores = ScoresOf(batch.tokens);
  GatheredKeyScores(queries_, dtype_, batch.rows, scores);
  Use(batch.tokens, scores);
  batch.Clear();
}

MatrixView<float> MarkedKeyScorer::ScoresOf(std::span<const uint32_t> tokens) {
  return {scratch_.scores.Take(queries_.rows() * tokens.size()).data(), queries_.rows(),
          tokens.size()};
}

void MarkedKeyScorer::Use(std::span<const uint32_t> tokens, MatrixView<const float> scores) {
  use_(tokens, scores);
  scored_ += queries_.rows() * tokens.size();
}

StatusOr<uint64_t> ScoreMarkedKeys(const KvReader& keys, const TokenMarks& marks,
                                   MatrixView<const float> queries, const UseScores& use) {
  return MarkedKeyScorer(&keys, &marks, queries, &use).Finish();
}

}  // namespace alaya
