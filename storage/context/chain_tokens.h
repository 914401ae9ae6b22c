// The token ids of chains of segments, whose ids are stored and not held in memory.
//
// Chains that link to the same segment have the same tokens there: nothing is read for that.

#ifndef ALAYA_STORAGE_CONTEXT_CHAIN_TOKENS_H_
#define ALAYA_STORAGE_CONTEXT_CHAIN_TOKENS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "storage/cache/page_cache.h"
#include "storage/context/stored_context.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Consecutive tokens, in memory while this lives; move-only.
class TokenStretch {
 public:
  // Of somebody who outlives this.
  explicit TokenStretch(std::span<const TokenId> tokens) : tokens_(tokens) {}
  explicit TokenStretch(std::vector<TokenId> tokens) : own_(std::move(tokens)), tokens_(own_) {}
  // A page of tokens, from its token number `begin` on.
  TokenStretch(PinnedPage page, size_t begin);
  TokenStretch(TokenStretch&&) = default;
  TokenStretch& operator=(TokenStretch&&) = default;

  std::span<const TokenId> tokens() const { return tokens_; }

 private:
  PinnedPage page_;
  std::vector<TokenId> own_;
  std::span<const TokenId> tokens_;
};

// Reads tokens of a segment from `offset` on: at least one, at most to the segment's end.
// `wanted_count` tells how many will be looked at.
// Requires: offset < segment.token_count.
using TokenSource = std::function<StatusOr<TokenStretch>(const Segment& segment, uint64_t offset,
                                                         uint64_t wanted_count)>;

// All of these: errors are those of `read`.

// Requires: position below the chain's end.
StatusOr<TokenId> ReadChainToken(const std::vector<SegmentLink>& chain, uint64_t position,
                                 const TokenSource& read);
// The tokens of a chain. Requires: the range lies in the chain.
StatusOr<std::vector<TokenId>> ReadChainTokens(const std::vector<SegmentLink>& chain,
                                               TokenRange range, const TokenSource& read);
// How many of `tokens` the chain begins with; every one is compared.
StatusOr<uint64_t> CountCommonTokens(const std::vector<SegmentLink>& chain,
                                     std::span<const TokenId> tokens, const TokenSource& read);
// How many tokens two chains have in common from their beginning. Requires: at least the
// first `known_count` of them.
StatusOr<uint64_t> CountCommonTokens(const std::vector<SegmentLink>& a,
                                     const std::vector<SegmentLink>& b, uint64_t known_count,
                                     const TokenSource& read);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_CHAIN_TOKENS_H_
