#include "storage/context/chain_tokens.h"

#include <algorithm>
#include <cstring>

#include "storage/types/check.h"

namespace alaya {
namespace {

uint64_t EndOf(const std::vector<SegmentLink>& chain) {
  return chain.empty() ? 0 : chain.back().range().end;
}

// The link that holds the token. Requires: there is one.
const SegmentLink& LinkAt(const std::vector<SegmentLink>& chain, uint64_t position) {
  const auto link = std::ranges::upper_bound(
      chain, position, {}, [](const SegmentLink& candidate) { return candidate.range().end; });
  ALAYA_CHECK(link != chain.end());
  return *link;
}

// Tokens of a chain from `position` on, at most `wanted_count` and at most to its link's end.
struct ChainStretch {
  TokenStretch stretch;
  uint64_t count = 0;

  std::span<const TokenId> tokens() const { return stretch.tokens().first(count); }
};
StatusOr<ChainStretch> ReadAt(const std::vector<SegmentLink>& chain, uint64_t position,
                              uint64_t wanted_count, const TokenSource& read) {
  const SegmentLink& link = LinkAt(chain, position);
  const uint64_t wanted = std::min(wanted_count, link.range().end - position);
  ALAYA_ASSIGN_OR_RETURN(TokenStretch stretch,
                         read(*link.segment, position - link.range().begin, wanted));
  const uint64_t count = std::min<uint64_t>(wanted, stretch.tokens().size());
  ALAYA_CHECK(count > 0);
  return ChainStretch{std::move(stretch), count};
}

// Of sequences of one length. Mostly all of them are equal, which memcmp tells soonest.
uint64_t CountCommon(std::span<const TokenId> a, std::span<const TokenId> b) {
  if (std::memcmp(a.data(), b.data(), a.size_bytes()) == 0) return a.size();
  return static_cast<uint64_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

TokenStretch::TokenStretch(PinnedPage page, size_t begin) : page_(std::move(page)) {
  const std::span<const std::byte> payload = page_.payload();
  // Pages are aligned, and what was written to this one were tokens.
  tokens_ =
      std::span(reinterpret_cast<const TokenId*>(payload.data()), payload.size() / sizeof(TokenId))
          .subspan(begin);
}

StatusOr<TokenId> ReadChainToken(const std::vector<SegmentLink>& chain, uint64_t position,
                                 const TokenSource& read) {
  ALAYA_ASSIGN_OR_RETURN(const ChainStretch one, ReadAt(chain, position, 1, read));
  return one.tokens().front();
}

StatusOr<std::vector<TokenId>> ReadChainTokens(const std::vector<SegmentLink>& chain,
                                               TokenRange range, const TokenSource& read) {
  std::vector<TokenId> tokens;
  tokens.reserve(range.size());
  while (tokens.size() < range.size()) {
    ALAYA_ASSIGN_OR_RETURN(const ChainStretch next, ReadAt(chain, range.begin + tokens.size(),
                                                           range.size() - tokens.size(), read));
    tokens.insert(tokens.end(), next.tokens().begin(), next.tokens().end());
  }
  return tokens;
}

StatusOr<uint64_t> CountCommonTokens(const std::vector<SegmentLink>& chain,
                                     std::span<const TokenId> tokens, const TokenSource& read) {
  const uint64_t end = std::min<uint64_t>(EndOf(chain), tokens.size());
  uint64_t position = 0;
  while (position < end) {
    ALAYA_ASSIGN_OR_RETURN(const ChainStretch stored,
                           ReadAt(chain, position, end - position, read));
    const uint64_t common = CountCommon(stored.tokens(), tokens.subspan(position, stored.count));
    position += common;
    if (common < stored.count) break;
  }
  return position;
}

StatusOr<uint64_t> CountCommonTokens(const std::vector<SegmentLink>& a,
                                     const std::vector<SegmentLink>& b, uint64_t known_count,
                                     const TokenSource& read) {
  const uint64_t end = std::min(EndOf(a), EndOf(b));
  uint64_t position = known_count;
  while (position < end) {
    const SegmentLink& link_a = LinkAt(a, position);
    const SegmentLink& link_b = LinkAt(b, position);
    if (link_a.segment == link_b.segment) {
      position = std::min(link_a.range().end, link_b.range().end);
      continue;
    }
    ALAYA_ASSIGN_OR_RETURN(const ChainStretch of_a, ReadAt(a, position, end - position, read));
    ALAYA_ASSIGN_OR_RETURN(const ChainStretch of_b, ReadAt(b, position, of_a.count, read));
    const uint64_t common = CountCommon(of_a.tokens().first(of_b.count), of_b.tokens());
    position += common;
    if (common < of_b.count) break;
  }
  return position;
}

}  // namespace alaya
