#include "index/topk/top_k_selection.h"

#include <algorithm>
#include <cassert>

namespace alaya {

Selection SelectTopK(std::span<SequenceToken> candidates, size_t k) {
  assert(k >= 1);
  if (candidates.size() <= k) return {};
  const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(candidates.begin(), last, candidates.end(), RanksBefore);
  return {*last};
}

}  // namespace alaya
