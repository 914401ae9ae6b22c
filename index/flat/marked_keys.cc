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

struct Scratch {
  ScratchBuffer<uint32_t> tokens;
  ScratchBuffer<std::byte> rows;
  ScratchBuffer<float> scores;
};

void PrefetchRow(const std::byte* row, size_t row_bytes) {
  for (size_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(row + line, 0, 3);
}

// Copies chosen rows next to each other, so that the kernel for blocks scores them.
EncodedMatrixView GatherRows(EncodedMatrixView block, std::span<const uint32_t> rows,
                             std::span<std::byte> memory) {
  const size_t row_bytes = block.row_bytes();
  for (size_t i = 0; i < std::min(kRowsAhead, rows.size()); ++i) {
    PrefetchRow(block.row(rows[i]), row_bytes);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i + kRowsAhead < rows.size()) PrefetchRow(block.row(rows[i + kRowsAhead]), row_bytes);
    std::memcpy(&memory[i * row_bytes], block.row(rows[i]), row_bytes);
  }
  return {memory.data(), rows.size(), block.cols, block.dtype};
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
  uint64_t scored = 0;
  for (size_t b = 0; b < keys.block_count(); ++b) {
    const size_t begin = b * keys.block_tokens();
    const size_t size = std::min(keys.block_tokens(), keys.token_count() - begin);
    std::span<uint32_t> tokens = scratch.tokens.Take(size);
    tokens = tokens.first(marks.List(begin, begin + size, tokens));
    if (tokens.empty()) continue;
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows pinned, keys.ReadBlock(KvKind::kKey, b));
    EncodedMatrixView rows = pinned.rows;
    if (tokens.size() * kDenseShare > size) {
      tokens = scratch.tokens.Take(size);
      std::iota(tokens.begin(), tokens.end(), 0U);
    } else {
      rows = GatherRows(pinned.rows, tokens, scratch.rows.Take(tokens.size() * rows.row_bytes()));
    }
    const MatrixView<float> scores(scratch.scores.Take(queries.rows() * tokens.size()).data(),
                                   queries.rows(), tokens.size());
    KeyScores(queries, rows, scores);
    for (uint32_t& token : tokens) token += static_cast<uint32_t>(begin);
    use(tokens, scores);
    scored += queries.rows() * tokens.size();
  }
  return scored;
}

}  // namespace alaya
