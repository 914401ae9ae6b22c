// Attention over chosen tokens whose scores are known: only their values are read.

#ifndef ALAYA_INDEX_ATTENTION_GATHERED_ATTENTION_H_
#define ALAYA_INDEX_ATTENTION_GATHERED_ATTENTION_H_

#include <cstddef>
#include <span>
#include <vector>

#include "index/attention/attention_part.h"
#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/status.h"

namespace alaya {

struct GatheredAttentionTask {
  // [query_count] each query's tokens, by rising position in the reader.
  std::span<const std::vector<ScoredToken>> tokens;
  const KvReader* reader = nullptr;
  float scale = 1;  // from score to logit, > 0
};

// Makes `total` the attention over its own tokens and those of the task.
//
// Requires: `total` holds none of the task's tokens.
// Guarantees: blocks without a token are not read; no more are pinned at a time than GatherPins
//   holds.
// Errors: whatever a block read returns; `total` is unspecified then.
// Cost: never more than the value half of exact attention over the same blocks.
Status AddGatheredAttention(const GatheredAttentionTask& task, AttentionPart total);

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_GATHERED_ATTENTION_H_
