#include "storage/context/stored_context.h"

#include <algorithm>

#include "storage/types/check.h"

namespace alaya {

std::vector<TokenId> ChainTokens(const std::vector<SegmentLink>& chain) {
  std::vector<TokenId> tokens;
  tokens.reserve(chain.empty() ? 0 : chain.back().range().end);
  for (const SegmentLink& link : chain) {
    const auto begin = link.segment->tokens.begin();
    tokens.insert(tokens.end(), begin, begin + static_cast<ptrdiff_t>(link.token_count));
  }
  return tokens;
}

std::vector<TokenSlice> ChainSlices(const std::vector<SegmentLink>& chain) {
  std::vector<TokenSlice> slices;
  slices.reserve(chain.size());
  for (const SegmentLink& link : chain) {
    slices.push_back({link.segment->tokens, 0, static_cast<size_t>(link.token_count)});
  }
  return slices;
}

std::vector<SegmentLink> ChainPrefix(const std::vector<SegmentLink>& chain, uint64_t token_count) {
  ALAYA_CHECK(token_count <= (chain.empty() ? 0 : chain.back().range().end));
  std::vector<SegmentLink> prefix;
  for (const SegmentLink& link : chain) {
    if (link.range().begin >= token_count) break;
    prefix.push_back(link);
    prefix.back().token_count = std::min(link.token_count, token_count - link.range().begin);
  }
  return prefix;
}

}  // namespace alaya
