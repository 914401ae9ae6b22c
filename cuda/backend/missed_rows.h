// What the CPU does for a device's answer: attention to rows that the device lacks.

#ifndef ALAYA_CUDA_BACKEND_MISSED_ROWS_H_
#define ALAYA_CUDA_BACKEND_MISSED_ROWS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "index/attention/attention_part.h"
#include "index/kv_reader.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct MissedRowsTask {
  MatrixView<const float> queries;    // [query_count, head_dim]
  std::span<const uint32_t> entries;  // of `missed` (sparse_task.h), by rising token
  const KvReader* rows = nullptr;
  float scale = 1;  // from score to logit
};

// Rows of some of the entries' tokens; valid during the call.
using UseRows =
    std::function<void(std::span<const uint32_t> tokens, std::span<const std::byte* const> keys,
                       std::span<const std::byte* const> values)>;

// Makes `total` the attention over its own tokens and the entries', each by the queries
// whose bit it has. Shows some of the rows, at most rows_wanted, to `use`, in one call.
//
// Errors: whatever a block read returns.
// Returns: how many scores were computed, which are the tokens attended, per query.
StatusOr<std::vector<uint64_t>> AddMissedRows(const MissedRowsTask& task, size_t rows_wanted,
                                              const UseRows& use, AttentionPart total);

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_MISSED_ROWS_H_
