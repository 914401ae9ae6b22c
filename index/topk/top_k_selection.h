// Top-k: a fixed number of tokens, whatever the head.

#ifndef ALAYA_INDEX_TOPK_TOP_K_SELECTION_H_
#define ALAYA_INDEX_TOPK_TOP_K_SELECTION_H_

#include <cstddef>
#include <span>

#include "index/selection.h"

namespace alaya {

// Takes the k best candidates, or all if there are fewer; reorders them.
//
// Requires: k >= 1. Cost: linear in the candidates, on average.
Selection SelectTopK(std::span<SequenceToken> candidates, size_t k);

}  // namespace alaya

#endif  // ALAYA_INDEX_TOPK_TOP_K_SELECTION_H_
