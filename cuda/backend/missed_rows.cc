#include "cuda/backend/missed_rows.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "cuda/kernels/sparse_task.h"
#include "index/attention/gathered_attention.h"
#include "index/graph/gathered_scores.h"

namespace alaya {
namespace {

size_t BlockOf(uint32_t entry, const KvReader& rows) {
  return MissedToken(entry) / rows.block_tokens();
}

void ReadBlocksAhead(std::span<const uint32_t> entries, const KvReader& rows) {
  std::vector<uint32_t> blocks;
  for (const uint32_t entry : entries) {
    const auto block = static_cast<uint32_t>(BlockOf(entry, rows));
    if (!blocks.empty() && blocks.back() == block) continue;
    if (blocks.size() == KvReader::kReadAheadBlocks) break;
    blocks.push_back(block);
  }
  rows.ReadAhead(KvKind::kKey, blocks);
  rows.ReadAhead(KvKind::kValue, blocks);
}

// Copies of rows, as blocks do not stay.
class RowCopies {
 public:
  RowCopies(size_t row_bytes, size_t room) : row_bytes_(row_bytes), bytes_(row_bytes * room) {}

  bool full() const { return count_ * row_bytes_ == bytes_.size(); }
  void Add(const std::byte* row) {
    std::memcpy(bytes_.data() + count_++ * row_bytes_, row, row_bytes_);
  }
  std::vector<const std::byte*> addresses() const {
    std::vector<const std::byte*> rows(count_);
    for (size_t i = 0; i < count_; ++i) rows[i] = bytes_.data() + i * row_bytes_;
    return rows;
  }

 private:
  size_t row_bytes_;
  size_t count_ = 0;
  std::vector<std::byte> bytes_;
};

// Scores the entries of one block.
void ScoreBlock(const MissedRowsTask& task, std::span<const uint32_t> entries,
                const PinnedRows& keys, size_t first_token,
                std::vector<std::vector<ScoredToken>>* tokens) {
  std::vector<const std::byte*> rows;
  std::vector<float> scores;
  for (size_t q = 0; q < task.queries.rows(); ++q) {
    rows.clear();
    const size_t first = (*tokens)[q].size();
    for (const uint32_t entry : entries) {
      if ((MissedQueries(entry) >> q & 1) == 0) continue;
      rows.push_back(keys.rows.row(MissedToken(entry) - first_token));
      (*tokens)[q].push_back({MissedToken(entry), 0});
    }
    scores.resize(rows.size());
    GatheredScores(task.queries.row(q), keys.rows.dtype, rows, scores);
    for (size_t i = 0; i < scores.size(); ++i) (*tokens)[q][first + i].score = scores[i];
  }
}

}  // namespace

StatusOr<std::vector<uint64_t>> AddMissedRows(const MissedRowsTask& task, size_t rows_wanted,
                                              const UseRows& use, AttentionPart total) {
  std::vector<uint64_t> counts(task.queries.rows());
  if (task.entries.empty()) return counts;
  const KvReader& reader = *task.rows;
  std::vector<std::vector<ScoredToken>> tokens(task.queries.rows());
  std::vector<uint32_t> shown;
  std::optional<RowCopies> keys;
  std::optional<RowCopies> values;
  for (size_t begin = 0, block_count = 0; begin < task.entries.size(); ++block_count) {
    const std::span<const uint32_t> left = task.entries.subspan(begin);
    const size_t block = BlockOf(left.front(), reader);
    const auto is_beyond = [&](uint32_t entry) { return BlockOf(entry, reader) != block; };
    const size_t count = static_cast<size_t>(std::ranges::find_if(left, is_beyond) - left.begin());
    if (block_count % KvReader::kReadAheadBlocks == 0) ReadBlocksAhead(left, reader);
    const size_t first_token = block * reader.block_tokens();
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block_keys, reader.ReadBlock(KvKind::kKey, block));
    ScoreBlock(task, left.first(count), block_keys, first_token, &tokens);
    begin += count;

    if (!keys) {
      const size_t room = std::min(rows_wanted, task.entries.size());
      keys.emplace(block_keys.rows.row_bytes(), room);
      values.emplace(block_keys.rows.row_bytes(), room);
    }
    if (keys->full()) continue;
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block_values, reader.ReadBlock(KvKind::kValue, block));
    for (size_t i = 0; i < count && !keys->full(); ++i) {
      const uint32_t token = MissedToken(left[i]);
      keys->Add(block_keys.rows.row(token - first_token));
      values->Add(block_values.rows.row(token - first_token));
      shown.push_back(token);
    }
  }
  if (!shown.empty()) use(shown, keys->addresses(), values->addresses());
  for (size_t q = 0; q < counts.size(); ++q) counts[q] = tokens[q].size();
  ALAYA_RETURN_IF_ERROR(AddGatheredAttention({tokens, task.rows, task.scale}, total));
  return counts;
}

}  // namespace alaya
