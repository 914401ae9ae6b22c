// Sparse attention of a batch of sessions over the indexes of one layer: one sequence of
// launches, which a CUDA graph can capture. It allocates and waits nowhere.
//
// For every query of a task:
//   1. exact attention to the task's windows, whose best score is a first bar;
//   2. a scan of all codes: approximate logits of all tokens, and which is the highest;
//   3. that token's exact score: the bar of the DIPR set, ln(alpha) below the best known.
//      And from the distribution of the approximate logits: which weights are too large
//      for an estimate (index/flat/rest_estimate.h);
//   4. the tokens that the bar's error bounds cannot exclude are scored exactly from their
//      rows, and those that reach the bar, or are too heavy, attended; the rest is
//      estimated with the mean values of its groups;
//   5. all parts are merged.
// A row comes from the cache beside the index (row_cache.h), or from where all rows lie,
// which is far away. With an estimate and a cache, tokens that are neither cached nor among
// the heaviest ones are estimated, too, and a few of them listed for the cache. If the device
// reaches no rows but cached ones, tokens that need another are left out and listed, for the
// host to attend to; then the top token counts with the least that its score can be.
// A sound search, and one without an estimate, reads no cache.
// The bar comes from the best score known before step 4. So the attended set holds every
// critical token, unless a statistical bound fails, and may hold a few that a better
// maximum found in step 4 would exclude.

#ifndef ALAYA_CUDA_KERNELS_SPARSE_TASK_H_
#define ALAYA_CUDA_KERNELS_SPARSE_TASK_H_

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/row_cache.h"
#include "cuda/kernels/rows.h"

namespace alaya {

inline constexpr uint32_t kTaskQueriesMax = 8;
inline constexpr uint32_t kTaskWindowsMax = 3;  // sink, recent tokens, tail

// Rows that every query of a task attends to.
struct WindowRows {
  DeviceRows keys;
  DeviceRows values;
  uint32_t token_count = 0;
};

// The queries of one kv head of one session over one segment. In device memory.
struct SparseTask {
  FlatHead head;      // token_count 0: only windows are attended
  DeviceRows keys;    // of all tokens of the head, for those that are chosen; without data:
  DeviceRows values;  // the device reaches no rows but those of the cache
  RowCache cache;
  // Tokens that are searched; those of windows lie outside.
  uint32_t token_begin = 0;
  uint32_t token_end = 0;
  WindowRows windows[kTaskWindowsMax];
};

// What all tasks of a batch have in common, or at most.
struct SparseShape {
  uint32_t head_dim = 0;      // a multiple of 8, at most kHeadDimMaxOnDevice
  uint32_t task_count = 0;    // at most 65535
  uint32_t query_count = 0;   // of a task, at most kTaskQueriesMax
  uint32_t token_count = 0;   // of a head, at most
  uint32_t window_count = 0;  // tokens of a window, at most
};

struct SparseOptions {
  float scale = 1;      // from score to logit, > 0
  float log_alpha = 0;  // ln(alpha) <= 0
  // Of the errors of approximate scores, that a bound covers; 0: all, no token is missed.
  float deviations = 3;
  // Also estimate what is left out, with an error of so much of the output's norm; 0: no.
  float rest_error = 0.01F;
};

// Per query: what was attended outside the windows; per task: rows that were scored.
struct SparseCounts {
  uint32_t* tokens_attended = nullptr;  // [task_count, query_count]
  uint32_t* rows_scored = nullptr;      // [task_count]
};

// Rows that a task wanted from outside its cache, in no order. Without keys they were not
// attended by any query whose bit is set, and are not in its estimate. An entry without bits
// is for the cache alone; there are at most kWantedMax of them.
struct MissedRows {
  static constexpr uint32_t kTokenBits = 24;
  // More would not be read in the time of a step: they come with the next steps.
  static constexpr uint32_t kWantedMax = 64;

  uint32_t* entries = nullptr;  // [task_count, capacity] token, and above it a bit a query
  uint32_t* counts = nullptr;   // [task_count] may be more than capacity: then some are lost
  uint32_t capacity = 0;
};
constexpr uint32_t MissedToken(uint32_t entry) {
  return entry & ((1U << MissedRows::kTokenBits) - 1);
}
constexpr uint32_t MissedQueries(uint32_t entry) { return entry >> MissedRows::kTokenBits; }

// What a cache may take in: the entries of one task's missed rows.
struct RowOffers {
  RowCache cache;
  const uint32_t* missed = nullptr;
  const uint32_t* count = nullptr;
  uint32_t capacity = 0;
  // Row i is that of entry i or, by token, of the entry's token.
  DeviceRows keys;
  DeviceRows values;
  bool rows_by_token = false;
};

// In device memory; queries and outputs [task_count, query_count, head_dim].
struct SparseBatch {
  const SparseTask* tasks = nullptr;  // [task_count]
  const float* queries = nullptr;
  void* scratch = nullptr;  // SparseScratchBytes(shape), 256-byte aligned
  float* outputs = nullptr;
  float* log_sum_exps = nullptr;  // [task_count, query_count]
  // [task_count, query_count] of what the two above hold, the part that is estimated.
  float* rest_shares = nullptr;
  SparseCounts counts;
  MissedRows missed;  // without capacity: not listed, and all tasks have keys
  // Counts batches, so that caches know what is old. Every batch adds one.
  uint32_t* step = nullptr;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_SPARSE_TASK_H_
