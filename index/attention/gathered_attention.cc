#include "index/attention/gathered_attention.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <limits>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/attention/softmax_state.h"
#include "index/kernels/weighted_values.h"
#include "index/prefetch.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// A block of which the queries take a larger share than one in this many tokens is
// read whole, for all queries at once: consecutive rows and four queries per pass
// cost a fraction of gathering row by row.
constexpr size_t kDenseShare = 4;

struct Scratch {
  ScratchBuffer<float> weights;        // of all candidates, query after query
  ScratchBuffer<float> dense_weights;  // of one block
  ScratchBuffer<uint32_t> rows;        // of one block and query
  ScratchBuffer<float> sums;
  ScratchBuffer<float> log_sum_exp;
  ScratchBuffer<SoftmaxState> states;
  std::vector<uint32_t> blocks;  // to read ahead
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

// A block with tokens of some query, on its way.
struct FetchedBlock {
  uint64_t index = 0;
  std::vector<Pending> taken;  // [query_count]; empty: there is none
  PinnedRows values;
  bool is_dense = false;
};

// Asks for all rows at once, as each takes long to come.
void FetchRows(const FetchedBlock& block, uint64_t block_begin) {
  const EncodedMatrixView values = block.values.rows;
  for (const Pending& query : block.taken) {
    for (const ScoredToken& token : query.tokens) {
      Prefetch(values.row(token.token - block_begin), values.row_bytes());
    }
  }
}

void AddRowByRow(std::span<const Pending> taken, uint64_t block_begin, EncodedMatrixView values,
                 Scratch& scratch, MatrixView<float> sums) {
  for (size_t i = 0; i < taken.size(); ++i) {
    const std::span<uint32_t> rows = scratch.rows.Take(taken[i].tokens.size());
    std::ranges::transform(taken[i].tokens, rows.begin(), [&](const ScoredToken& token) {
      return static_cast<uint32_t>(token.token - block_begin);
    });
    AddGatheredValues(taken[i].weights, rows, values, sums.row(i));
  }
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

  const uint64_t block_tokens = task.reader->block_tokens();
  const bool is_in_memory = task.reader->IsInMemory();
  uint64_t read_ahead_end = 0;  // blocks before it are announced
  // Takes the next block with pending tokens.
  const auto fetch = [&](FetchedBlock* block) -> Status {
    block->taken.clear();
    block->values = {};
    const uint64_t b = NextBlock(pending, block_tokens);
    if (b >= task.reader->block_count()) return OkStatus();
    if (b >= read_ahead_end) {
      const std::span<const uint32_t> next = NextBlocks(pending, b, block_tokens, &scratch.blocks);
      task.reader->Announce(KvKind::kValue, next, is_in_memory);
      read_ahead_end = uint64_t{next.back()} + 1;
    }
    size_t taken_count = 0;
    for (Pending& query : pending) {
      block->taken.push_back(query.TakeBefore((b + 1) * block_tokens));
      taken_count += block->taken.back().tokens.size();
    }
    block->index = b;
    ALAYA_ASSIGN_OR_RETURN(block->values, task.reader->ReadBlock(KvKind::kValue, b));
    block->is_dense = taken_count * kDenseShare >= count * block->values.rows.rows;
    if (!block->is_dense) FetchRows(*block, b * block_tokens);
    return OkStatus();
  };
  std::array<FetchedBlock, kValueBlocksPinnedMax> blocks;
  for (FetchedBlock& block : blocks) ALAYA_RETURN_IF_ERROR(fetch(&block));
  for (size_t next = 0; !blocks[next].taken.empty(); next = (next + 1) % blocks.size()) {
    FetchedBlock& block = blocks[next];
    const auto add = block.is_dense ? AddWholeBlock : AddRowByRow;
    add(block.taken, block.index * block_tokens, block.values.rows, scratch, sums);
    ALAYA_RETURN_IF_ERROR(fetch(&block));
  }

  const std::span<float> log_sum_exp = scratch.log_sum_exp.Take(count);
  for (size_t i = 0; i < count; ++i) {
    log_sum_exp[i] = states[i].Finish(task.scale, sums.row(i));
  }
  MergeAttention({sums, log_sum_exp}, total);
  return OkStatus();
}

}  // namespace alaya
