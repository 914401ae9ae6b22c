// From rows per head, as they are stored, to rows per token, as the API sends them.

#ifndef ALAYA_SERVER_ENGINE_TOKEN_GATHER_H_
#define ALAYA_SERVER_ENGINE_TOKEN_GATHER_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/kv_reader.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Copies tokens `range` of one of `head_count` heads to their places in `tokens`, an
// array [range.size(), head_count, head_dim].
//
// Requires: the reader has the range; `tokens` has exactly that size.
// Errors: whatever a block read returns.
Status GatherHead(const KvReader& reader, KvKind kind, TokenRange range, size_t head_index,
                  size_t head_count, std::span<std::byte> tokens);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TOKEN_GATHER_H_
