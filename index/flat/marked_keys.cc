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
constexpr size_t kBatchRows = 128;

}  // namespace

void TokenMarks::Reset(size_t token_count) {
  words_ = buffer_.Take((token_count + 63) / 64);
  std::ranges::fill(words_, uint64_t{0});
}

void TokenMarks::Clear(size_t begin, size_t end) {
  std::ranges::fill(words_.subspan(begin / 64, (end + 63) / 64 - begin / 64), uint64_t{0});
}

size_t TokenMarks::Next(size_t begin, size_t end) const {
  if (begin >= end) return end;
  size_t word = begin / 64;
  uint64_t bits = words_[word] & ~uint64_t{0} << begin % 64;
  while (bits == 0 && (word + 1) * 64 < end) bits = words_[++word];
  return bits == 0 ? end : std::min(end, word * 64 + static_cast<size_t>(std::countr_zero(bits)));
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

MarkedKeyScorer::MarkedKeyScorer(const KvReader* keys, const TokenMarks* marks,
                                 MatrixView<const float> queries, const UseScores* use)
    : keys_(*keys),
      is_in_memory_(keys->IsInMemory()),
      block_tokens_(keys->block_tokens()),
      token_count_(keys->token_count()),
      marks_(*marks),
      queries_(queries),
      use_(*use),
      scratch_(ThreadScratch()),
      pins_(is_in_memory_) {
  // An error may have left some.
  scratch_.batch.count = 0;
}

Status MarkedKeyScorer::ScoreBefore(uint64_t token_end) {
  return TakeBlocks(token_end / block_tokens_);
}

StatusOr<uint64_t> MarkedKeyScorer::Finish() {
  ALAYA_RETURN_IF_ERROR(TakeBlocks(keys_.block_count()));
  ScoreBatch();
  return scored_;
}

Status MarkedKeyScorer::TakeBlocks(size_t block_end) {
  std::vector<uint32_t>& blocks = scratch_.blocks;
  while (next_block_ < block_end) {
    ListBlocks(block_end);
    if (!blocks.empty()) keys_.Announce(KvKind::kKey, blocks, is_in_memory_);
    for (const uint32_t block : blocks) ALAYA_RETURN_IF_ERROR(TakeBlock(block));
  }
  return OkStatus();
}

void MarkedKeyScorer::ListBlocks(size_t block_end) {
  std::vector<uint32_t>& blocks = scratch_.blocks;
  blocks.clear();
  const size_t token_end = std::min(block_end * block_tokens_, token_count_);
  while (blocks.size() < KvReader::kReadAheadBlocks) {
    const size_t token = marks_.Next(next_block_ * block_tokens_, token_end);
    if (token == token_end) {
      next_block_ = block_end;
      return;
    }
    blocks.push_back(static_cast<uint32_t>(token / block_tokens_));
    next_block_ = blocks.back() + 1;
  }
}

Status MarkedKeyScorer::TakeBlock(size_t block) {
  const size_t begin = block * block_tokens_;
  const size_t size = std::min(block_tokens_, token_count_ - begin);
  const std::span<uint32_t> room = scratch_.rows.Take(size);
  const std::span<const uint32_t> rows = room.first(marks_.List(begin, begin + size, room));
  // Left where it is: to move it takes as long as to score a row.
  StatusOr<PinnedRows> read = keys_.ReadBlock(KvKind::kKey, block);
  ALAYA_RETURN_IF_ERROR(read.status());
  PinnedRows& keys = *read;
  if (rows.size() * kDenseShare > size) {
    ScoreBatch();
    std::iota(room.begin(), room.end(), static_cast<uint32_t>(begin));
    const MatrixView<float> scores = ScoresOf(room);
    KeyScores(queries_, keys.rows, scores);
    Use(room, scores);
    return OkStatus();
  }
  Batch& batch = scratch_.batch;
  if (batch.tokens.size() < batch.count + rows.size()) {
    batch.tokens.resize(kBatchRows + size);
    batch.rows.resize(kBatchRows + size);
  }
  const std::byte* const first = keys.rows.data;
  const size_t row_bytes = keys.rows.row_bytes();
  for (const uint32_t row : rows) {
    batch.tokens[batch.count] = static_cast<uint32_t>(begin) + row;
    batch.rows[batch.count] = first + row * row_bytes;
    if (batch.count < kGatherAheadRows) Prefetch(batch.rows[batch.count], row_bytes);
    ++batch.count;
  }
  dtype_ = keys.rows.dtype;
  pins_.Add(std::move(keys.pin));
  if (pins_.is_full() || batch.count >= kBatchRows) ScoreBatch();
  return OkStatus();
}

void MarkedKeyScorer::ScoreBatch() {
  Batch& batch = scratch_.batch;
  if (batch.count == 0) return;
  const std::span tokens = std::span<const uint32_t>(batch.tokens).first(batch.count);
  const MatrixView<float> scores = ScoresOf(tokens);
  GatheredKeyScores(queries_, dtype_, std::span(batch.rows).first(batch.count), scores);
  Use(tokens, scores);
  batch.count = 0;
  pins_.Clear();
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
