// Attention over the tokens that matter: a target's critical set, the window and the
// parts without an index.
//
// 1. Exact attention over what is always attended; its best scores seed the search.
// 2. Each indexed part returns its candidates.
// 3. The critical set is chosen among all tokens that a query sees.
// 4. Attention over chosen tokens outside of 1, from their known scores; merged.
// 5. If asked for, what indexes estimate of the attention to all other tokens; merged.
//
// Source: AlayaDB, arXiv:2504.10326 (window caching with DIPRS).

#ifndef ALAYA_INDEX_ATTENTION_SPARSE_ATTENTION_H_
#define ALAYA_INDEX_ATTENTION_SPARSE_ATTENTION_H_

#include "index/attention/attention_part.h"
#include "index/attention/backend.h"
#include "storage/types/status.h"

namespace alaya {

// Sets `output` to attention over critical set, window and unindexed parts; each
// token counts once. Of a part whose rest is estimated every token is attended that
// its index returned.
//
// Requires: task.target is not FullTarget. Otherwise as AttentionBackend::Attend.
StatusOr<AttentionReport> SparseAttention(const AttentionTask& task, AttentionPart output);

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_SPARSE_ATTENTION_H_
