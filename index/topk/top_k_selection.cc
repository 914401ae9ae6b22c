#include "index/topk/top_k_selection.h"

#include <algorithm>
#include <cassert>

namespace alaya {

Selection SelectTopK(std::span<SequenceToken> candidates, size_t k) {
  assert(k >= 1);
  if (candidates.size() <= k) return {};
  const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(candidates.begin(), last, candidates.end(), RanksBefore<SequenceToken>);
  return {*last};
}

bool DropAllButTopK(size_t k, std::vector<ScoredToken>* tokens) {
  assert(k >= 1);
  if (tokens->size() <= k) return false;
  const auto end = tokens->begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(tokens->begin(), end - 1, tokens->end(), RanksBefore<ScoredToken>);
  tokens->erase(end, tokens->end());
  return true;
}

}  // namespace alaya
