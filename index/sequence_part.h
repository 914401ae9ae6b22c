// A sequence as the mathematics sees it: a chain of parts.

#ifndef ALAYA_INDEX_SEQUENCE_PART_H_
#define ALAYA_INDEX_SEQUENCE_PART_H_

#include <cstdint>

#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/ids.h"

namespace alaya {

// One part of a sequence. Parts are disjoint, in token order and without gaps.
struct SequencePart {
  const KvReader* reader = nullptr;
  // The plan: how this part is searched. Null: its tokens are always attended
  // (the tail).
  const TokenIndex* index = nullptr;
  uint64_t token_begin = 0;  // sequence position of the reader's token 0

  TokenRange range() const { return {token_begin, token_begin + reader->token_count()}; }
};

}  // namespace alaya

#endif  // ALAYA_INDEX_SEQUENCE_PART_H_
