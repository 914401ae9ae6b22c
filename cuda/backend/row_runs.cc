#include "cuda/backend/row_runs.h"

#include <cstring>

namespace alaya {

Status GatherRows(const KvReader& reader, KvKind kind, uint32_t first, uint32_t step,
                  uint32_t count, uint32_t row_bytes, std::byte* out) {
  const size_t block_tokens = reader.block_tokens();
  uint32_t i = 0;
  while (i < count) {
    const size_t block = (first + size_t{i} * step) / block_tokens;
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows pinned, reader.ReadBlock(kind, block));
    for (; i < count; ++i) {
      const size_t row = first + size_t{i} * step - block * block_tokens;
      if (row >= block_tokens) break;
      std::memcpy(out + size_t{i} * row_bytes, pinned.rows.row(row), row_bytes);
    }
  }
  return OkStatus();
}

}  // namespace alaya
