#include "index/key_pass.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace alaya {
namespace {

// The smallest range around both.
TokenRange Around(TokenRange a, TokenRange b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

}  // namespace

KeyPass::KeyPass(const KvReader* reader, std::span<const TokenRange> visible, PassKinds kinds)
    : reader_(*reader), visible_(visible), kinds_(kinds), in_memory_(reader->IsInMemory()) {
  TokenRange all;
  for (const TokenRange& range : visible) {
    all = Around(all, Intersect(range, {0, reader->token_count()}));
  }
  if (all.empty()) return;
  next_ = first_ = all.begin / reader->block_tokens();
  end_ = (all.end - 1) / reader->block_tokens() + 1;
}

StatusOr<KeyBlock> KeyPass::Next() {
  KeyBlock block;
  for (; next_ < end_ && block.empty(); ++next_) {
    AnnounceFrom(next_);
    block.index = next_;
    block.tokens = SeenOf(next_);
  }
  if (block.empty()) return block;
  block.first_row = block.tokens.begin - block.index * reader_.block_tokens();
  ALAYA_ASSIGN_OR_RETURN(block.keys, reader_.ReadBlock(KvKind::kKey, block.index));
  return block;
}

TokenRange KeyPass::SeenOf(size_t block) const {
  const uint64_t begin = block * reader_.block_tokens();
  const TokenRange whole = {
      begin, std::min<uint64_t>(begin + reader_.block_tokens(), reader_.token_count())};
  TokenRange seen;
  for (const TokenRange& range : visible_) seen = Around(seen, Intersect(range, whole));
  return seen;
}

void KeyPass::AnnounceFrom(size_t block) const {
  if ((block - first_) % KvReader::kReadAheadBlocks != 0) return;
  uint32_t numbers[KvReader::kReadAheadBlocks];
  const size_t count = std::min(end_ - block, KvReader::kReadAheadBlocks);
  std::iota(numbers, numbers + count, static_cast<uint32_t>(block));
  reader_.Announce(KvKind::kKey, {numbers, count}, in_memory_);
  if (kinds_ == PassKinds::kKeysAndValues) {
    reader_.Announce(KvKind::kValue, {numbers, count}, in_memory_);
  }
}

}  // namespace alaya
