#include "server/engine/token_gather.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace alaya {

Status GatherHead(const KvReader& reader, KvKind kind, TokenRange range, size_t head_index,
                  size_t head_count, std::span<std::byte> tokens) {
  assert(range.end <= reader.token_count());
  const size_t block_tokens = reader.block_tokens();
  uint64_t token = range.begin;
  while (token < range.end) {
    const size_t block_index = token / block_tokens;
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block, reader.ReadBlock(kind, block_index));
    const size_t row_bytes = block.rows.row_bytes();
    const uint64_t block_begin = block_index * block_tokens;
    const uint64_t end = std::min<uint64_t>(range.end, block_begin + block.rows.rows);
    for (; token < end; ++token) {
      const size_t row = (token - range.begin) * head_count + head_index;
      std::memcpy(&tokens[row * row_bytes], block.rows.row(token - block_begin), row_bytes);
    }
  }
  return OkStatus();
}

}  // namespace alaya
