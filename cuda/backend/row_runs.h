// Rows of a reader, one after the other, as devices take them.

#ifndef ALAYA_CUDA_BACKEND_ROW_RUNS_H_
#define ALAYA_CUDA_BACKEND_ROW_RUNS_H_

#include <cstddef>
#include <cstdint>

#include "index/kv_reader.h"
#include "storage/types/status.h"

namespace alaya {

// Writes rows `first`, first + step, ... of `row_bytes` each to `out`.
//
// Errors: what a read returns.
Status GatherRows(const KvReader& reader, KvKind kind, uint32_t first, uint32_t step,
                  uint32_t count, uint32_t row_bytes, std::byte* out);

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_ROW_RUNS_H_
