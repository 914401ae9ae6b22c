#include "index/attention/exact_attention.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include "index/attention/attention_merge.h"
#include "index/attention/softmax_state.h"
#include "index/kernels/key_scores.h"
#include "index/kernels/weighted_values.h"
#include "index/key_pass.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// Queries that go through the blocks together: their scores and sums stay in the
// second-level cache.
constexpr size_t kSlabQueries = 64;
// Rows of scores start on cache lines.
constexpr size_t kScoreAlignment = 16;

struct Scratch {
  ScratchBuffer<float> scores;  // weights, after the softmax
  ScratchBuffer<float> sums;
  ScratchBuffer<float> log_sum_exp;
  ScratchBuffer<SoftmaxState> states;
};

// What each query sees of a block, as positions in the block.
TokenRange Within(TokenRange visible, TokenRange block) {
  const TokenRange seen = Intersect(visible, block);
  if (seen.empty()) return {0, 0};
  return {seen.begin - block.begin, seen.end - block.begin};
}

// Makes weights of a block's scores; tokens that a query does not see weigh 0.
void WeighBlock(const ExactAttentionTask& task, TokenRange block, MatrixView<float> scores,
                std::span<SoftmaxState> states, MatrixView<float> sums) {
  for (size_t i = 0; i < scores.rows(); ++i) {
    const std::span<float> row = scores.row(i);
    const TokenRange seen = Within(task.visible[i], block);
    if (!seen.empty()) {
      const std::span<float> seen_scores = row.subspan(seen.begin, seen.size());
      states[i].Add(seen_scores, task.scale, seen_scores, sums.row(i));
    }
    std::ranges::fill(row.first(seen.begin), 0.0F);
    std::ranges::fill(row.subspan(seen.end), 0.0F);
  }
}

Status AttendBlocks(const ExactAttentionTask& task, Scratch& scratch,
                    std::span<SoftmaxState> states, MatrixView<float> sums) {
  KeyPass pass(task.reader, task.visible, PassKinds::kKeysAndValues);
  ALAYA_ASSIGN_OR_RETURN(KeyBlock block, pass.Next());
  while (!block.empty()) {
    const size_t count = block.tokens.size();
    const size_t stride = (count + kScoreAlignment - 1) / kScoreAlignment * kScoreAlignment;
    const MatrixView<float> scores(scratch.scores.Take(states.size() * stride).data(),
                                   states.size(), count, stride);
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows values,
                           task.reader->ReadBlock(KvKind::kValue, block.index));
    const EncodedMatrixView value_rows = block.Rows(values);
    KeyScores(task.queries, block.Rows(block.keys), scores, value_rows.bytes());
    WeighBlock(task, block.tokens, scores, states, sums);
    block.keys = {};
    ALAYA_ASSIGN_OR_RETURN(block, pass.Next());
    AddWeightedValues(scores, value_rows, sums, block.Rows(block.keys).bytes());
  }
  return OkStatus();
}

Status AddSlab(const ExactAttentionTask& task, AttentionPart total, std::span<float> best_scores) {
  thread_local Scratch scratch;
  const size_t count = task.queries.rows();
  const MatrixView<float> sums(scratch.sums.Take(count * task.queries.cols()).data(), count,
                               task.queries.cols());
  const std::span<SoftmaxState> states = scratch.states.Take(count);
  std::fill_n(sums.data(), count * sums.cols(), 0.0F);
  std::ranges::fill(states, SoftmaxState::Empty());
  ALAYA_RETURN_IF_ERROR(AttendBlocks(task, scratch, states, sums));

  const std::span<float> log_sum_exp = scratch.log_sum_exp.Take(count);
  for (size_t i = 0; i < count; ++i) {
    log_sum_exp[i] = states[i].Finish(task.scale, sums.row(i));
    if (!best_scores.empty()) best_scores[i] = std::max(best_scores[i], states[i].max_score);
  }
  MergeAttention({sums, log_sum_exp}, total);
  return OkStatus();
}

}  // namespace

StatusOr<uint64_t> AddExactAttention(const ExactAttentionTask& task, AttentionPart total,
                                     std::span<float> best_scores) {
  const size_t count = task.queries.rows();
  assert(task.visible.size() == count && total.output.rows() == count);
  assert(best_scores.empty() || best_scores.size() == count);
  for (size_t begin = 0; begin < count; begin += kSlabQueries) {
    const size_t rows = std::min(kSlabQueries, count - begin);
    const ExactAttentionTask slab = {task.queries.rows_range(begin, rows),
                                     task.visible.subspan(begin, rows), task.reader, task.scale};
    ALAYA_RETURN_IF_ERROR(AddSlab(
        slab, {total.output.rows_range(begin, rows), total.log_sum_exp.subspan(begin, rows)},
        best_scores.empty() ? best_scores : best_scores.subspan(begin, rows)));
  }
  uint64_t scored = 0;
  for (const TokenRange& range : task.visible) {
    scored += Intersect(range, {0, task.reader->token_count()}).size();
  }
  return scored;
}

void ClearAttention(AttentionPart part) {
  for (size_t i = 0; i < part.output.rows(); ++i) std::ranges::fill(part.output.row(i), 0.0F);
  std::ranges::fill(part.log_sum_exp, -std::numeric_limits<float>::infinity());
}

}  // namespace alaya
