// Top-k: a fixed number of tokens, whatever the head.

#ifndef ALAYA_INDEX_TOPK_TOP_K_SELECTION_H_
#define ALAYA_INDEX_TOPK_TOP_K_SELECTION_H_

#include <cstddef>
#include <span>
#include <vector>

#include "index/selection.h"
#include "index/token_index.h"

namespace alaya {

// Takes the k best candidates, or all if there are fewer; reorders them.
//
// Requires: k >= 1. Cost: linear in the candidates, on average.
Selection SelectTopK(std::span<SequenceToken> candidates, size_t k);

// Drops all but the k best tokens; the last of these then stands at the back, the others
// in any order. False, and nothing is moved, if there are no more than k.
//
// Requires: k >= 1. Cost: linear in the tokens, on average.
bool DropAllButTopK(size_t k, std::vector<ScoredToken>* tokens);

}  // namespace alaya

#endif  // ALAYA_INDEX_TOPK_TOP_K_SELECTION_H_
