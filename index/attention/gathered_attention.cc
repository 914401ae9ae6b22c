#include "index/attention/gathered_attention.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/attention/softmax_state.h"
#include "index/gather_pins.h"
#include "index/kernels/weighted_values.h"
#include "index/prefetch.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// A block of which the queries take a larger share than one in this many tokens is
// read whole, for all queries at once: consecutive rows and four queries per pass
// cost a fraction of gathering row by row.
constexpr size_t kDenseShare = 4;

// Rows that lie anywhere are added when a query has so many, or a few more.
constexpr size_t kBatchRows = 64;

// Rows of one query that were asked for, of several blocks.
struct QueryRows {
  std::vector<const std::byte*> rows;
  std::vector<float> weights;
};

struct Scratch {
  ScratchBuffer<float> weights;        // of all candidates, query after query
  ScratchBuffer<float> dense_weights;  // of one block
  ScratchBuffer<float> sums;
  ScratchBuffer<float> log_sum_exp;
  ScratchBuffer<SoftmaxState> states;
  std::vector<uint32_t> blocks;  // to read ahead
  std::vector<QueryRows> batch;  // at least [query_count]
};

// The tokens of one query that are not attended yet, and their weights.
struct Pending {
  std::span<const ScoredToken> tokens;
  std::span<const float> weights;

  // Takes those before `end` away.
  Pending TakeBefore(uint64_t end) {
    // One by one: most blocks have few, and all are passed once.
    size_t count = 0;
    while (count < tokens.size() && tokens[count].token < end) ++count;
    const Pending taken = {tokens.first(count), weights.first(count)};
    tokens = tokens.subspan(count);
    weights = weights.subspan(count);
    return taken;
  }
};

// All weights of every query, and the softmax that they belong to.
std::vector<Pending> Weigh(const GatheredAttentionTask& task, Scratch& scratch,
                           std::span<SoftmaxState> states) {
  size_t total = 0;
  for (const auto& tokens : task.tokens) total += tokens.size();
  std::span<float> free = scratch.weights.Take(total);
  std::vector<Pending> pending;
  pending.reserve(task.tokens.size());
  for (size_t i = 0; i < task.tokens.size(); ++i) {
    const std::vector<ScoredToken>& tokens = task.tokens[i];
    const std::span<float> weights = free.first(tokens.size());
    free = free.subspan(tokens.size());
    std::ranges::transform(tokens, weights.begin(), &ScoredToken::score);
    if (!tokens.empty()) states[i].Add(weights, task.scale, weights, {});
    pending.push_back({tokens, weights});
  }
  return pending;
}

void AddWholeBlock(std::span<const Pending> taken, uint64_t block_begin, EncodedMatrixView values,
                   Scratch& scratch, MatrixView<float> sums) {
  const MatrixView<float> weights(scratch.dense_weights.Take(taken.size() * values.rows).data(),
                                  taken.size(), values.rows);
  std::fill_n(weights.data(), taken.size() * values.rows, 0.0F);
  for (size_t i = 0; i < taken.size(); ++i) {
    for (size_t j = 0; j < taken[i].tokens.size(); ++j) {
      weights.row(i)[taken[i].tokens[j].token - block_begin] = taken[i].weights[j];
    }
  }
  AddWeightedValues(weights, values, sums);
}

// The first block that still has a token of some query.
uint64_t NextBlock(std::span<const Pending> pending, uint64_t block_tokens) {
  uint64_t next = std::numeric_limits<uint64_t>::max();
  for (const Pending& query : pending) {
    if (!query.tokens.empty()) next = std::min<uint64_t>(next, query.tokens[0].token);
  }
  return next / block_tokens;
}

// The next blocks that have a token of some query, from `first_block` on; by rising number.
std::span<const uint32_t> NextBlocks(std::span<const Pending> pending, uint64_t first_block,
                                     uint64_t block_tokens, std::vector<uint32_t>* blocks) {
  blocks->clear();
  for (const Pending& query : pending) {
    size_t count = 0;
    uint64_t listed_end = first_block * block_tokens;  // of the last listed block
    for (const ScoredToken& token : query.tokens) {
      if (token.token < listed_end) continue;
      if (++count > KvReader::kReadAheadBlocks) break;
      const uint64_t block = token.token / block_tokens;
      listed_end = (block + 1) * block_tokens;
      blocks->push_back(static_cast<uint32_t>(block));
    }
  }
  std::ranges::sort(*blocks);
  const auto repeated = std::ranges::unique(*blocks);
  blocks->erase(repeated.begin(), repeated.end());
  return std::span(*blocks).first(std::min(blocks->size(), KvReader::kReadAheadBlocks));
}

// Adds the values of pending tokens to the sums, block by block: of those of which much is wanted
// all at once, of the others some rows, of several blocks together.
class ValueSums {
 public:
  ValueSums(const KvReader* reader, std::vector<Pending> pending, MatrixView<float> sums,
            Scratch* scratch)
      : reader_(*reader),
        is_in_memory_(reader->IsInMemory()),
        block_tokens_(reader->block_tokens()),
        pending_(std::move(pending)),
        taken_(pending_.size()),
        sums_(sums),
        scratch_(*scratch),
        pins_(is_in_memory_) {
    if (scratch_.batch.size() < pending_.size()) scratch_.batch.resize(pending_.size());
  }
  ValueSums(const ValueSums&) = delete;
  ValueSums& operator=(const ValueSums&) = delete;
  ~ValueSums() { Clear(); }

  Status AddAll() {
    uint64_t read_ahead_end = 0;  // blocks before it are announced
    for (uint64_t b = NextBlock(pending_, block_tokens_); b < reader_.block_count();
         b = NextBlock(pending_, block_tokens_)) {
      if (b >= read_ahead_end) {
        const auto next = NextBlocks(pending_, b, block_tokens_, &scratch_.blocks);
        reader_.Announce(KvKind::kValue, next, is_in_memory_);
        read_ahead_end = uint64_t{next.back()} + 1;
      }
      ALAYA_RETURN_IF_ERROR(AddBlock(b));
    }
    AddBatch();
    return OkStatus();
  }

 private:
  Status AddBlock(uint64_t b) {
    size_t taken_count = 0;
    for (size_t i = 0; i < pending_.size(); ++i) {
      taken_[i] = pending_[i].TakeBefore((b + 1) * block_tokens_);
      taken_count += taken_[i].tokens.size();
    }
    // Left where it is: to move it takes as long as to add a row.
    StatusOr<PinnedRows> read = reader_.ReadBlock(KvKind::kValue, b);
    ALAYA_RETURN_IF_ERROR(read.status());
    const EncodedMatrixView values = read->rows;
    if (taken_count * kDenseShare >= taken_.size() * values.rows) {
      AddWholeBlock(taken_, b * block_tokens_, values, scratch_, sums_);
      return OkStatus();
    }
    dtype_ = values.dtype;
    const std::byte* const first = values.data;
    const size_t row_bytes = values.row_bytes();
    bool has_batch = false;
    for (size_t i = 0; i < taken_.size(); ++i) {
      QueryRows& batch = scratch_.batch[i];
      for (size_t j = 0; j < taken_[i].tokens.size(); ++j) {
        const std::byte* row = first + (taken_[i].tokens[j].token - b * block_tokens_) * row_bytes;
        if (batch.rows.size() < kGatherAheadValues) Prefetch(row, row_bytes);
        batch.rows.push_back(row);
        batch.weights.push_back(taken_[i].weights[j]);
      }
      has_batch = has_batch || batch.rows.size() >= kBatchRows;
    }
    pins_.Add(std::move(read->pin));
    if (has_batch || pins_.is_full()) AddBatch();
    return OkStatus();
  }

  void AddBatch() {
    for (size_t i = 0; i < pending_.size(); ++i) {
      const QueryRows& batch = scratch_.batch[i];
      if (batch.rows.empty()) continue;
      const MatrixView<const float> weights(batch.weights.data(), 1, batch.weights.size());
      AddGatheredValues(weights, dtype_, batch.rows, sums_.rows_range(i, 1));
    }
    Clear();
  }

  void Clear() {
    for (QueryRows& batch : scratch_.batch) {
      batch.rows.clear();
      batch.weights.clear();
    }
    pins_.Clear();
  }

  const KvReader& reader_;
  const bool is_in_memory_;
  const uint64_t block_tokens_;
  std::vector<Pending> pending_;  // [query_count], as the next one
  std::vector<Pending> taken_;    // of one block
  const MatrixView<float> sums_;
  Scratch& scratch_;
  GatherPins pins_;  // of the batch
  DType dtype_ = DType::kF32;
};

}  // namespace

Status AddGatheredAttention(const GatheredAttentionTask& task, AttentionPart total) {
  thread_local Scratch scratch;
  const size_t count = task.tokens.size();
  assert(total.output.rows() == count);
  const std::span<SoftmaxState> states = scratch.states.Take(count);
  std::ranges::fill(states, SoftmaxState::Empty());
  std::vector<Pending> pending = Weigh(task, scratch, states);
  const size_t head_dim = total.output.cols();
  const MatrixView<float> sums(scratch.sums.Take(count * head_dim).data(), count, head_dim);
  std::fill_n(sums.data(), count * head_dim, 0.0F);
  ALAYA_RETURN_IF_ERROR(ValueSums(task.reader, std::move(pending), sums, &scratch).AddAll());

  const std::span<float> log_sum_exp = scratch.log_sum_exp.Take(count);
  for (size_t i = 0; i < count; ++i) {
    log_sum_exp[i] = states[i].Finish(task.scale, sums.row(i));
  }
  MergeAttention({sums, log_sum_exp}, total);
  return OkStatus();
}

}  // namespace alaya
