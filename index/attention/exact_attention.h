// Exact attention in one pass over keys and values, a block at a time.
//
// Keeps the running maximum, softmax denominator and weighted value sum of each
// query, so that no score outlives its block.
//
// Source: online softmax, arXiv:1805.02867; FlashAttention, arXiv:2205.14135.

#ifndef ALAYA_INDEX_ATTENTION_EXACT_ATTENTION_H_
#define ALAYA_INDEX_ATTENTION_EXACT_ATTENTION_H_

#include <cstdint>
#include <span>

#include "index/attention/attention_part.h"
#include "index/kv_reader.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Queries, and for each the reader's tokens that it attends to.
struct ExactAttentionTask {
  MatrixView<const float> queries;      // [query_count, head_dim]
  std::span<const TokenRange> visible;  // [query_count], positions in the reader
  const KvReader* reader = nullptr;
  float scale = 1;  // from score to logit, > 0
};

// Makes `total` the attention over its own tokens and those of the task (an empty
// total has log_sum_exp -inf and output 0), and raises best_scores to the highest
// score met.
//
// Shapes: best_scores [query_count], or empty where nobody asks.
// Requires: `total` holds none of the task's tokens.
// Guarantees: a query whose range is empty is left as it was; blocks that no query
//   sees are not read; at most 2 blocks are pinned at a time.
// Errors: whatever a block read returns; `total` is unspecified then.
// Returns the scores computed, which are the tokens attended, summed over queries.
StatusOr<uint64_t> AddExactAttention(const ExactAttentionTask& task, AttentionPart total,
                                     std::span<float> best_scores);

// Sets every query to attention over no tokens.
void ClearAttention(AttentionPart part);

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_EXACT_ATTENTION_H_
