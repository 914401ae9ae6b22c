// Which of many candidates become a token's neighbours.

#ifndef ALAYA_INDEX_GRAPH_NEIGHBOR_CHOICE_H_
#define ALAYA_INDEX_GRAPH_NEIGHBOR_CHOICE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/graph/build_keys.h"

namespace alaya {

// The first candidates, in their order, that are not occluded: a candidate much nearer
// to a chosen one than to the token is found through that one. Up to `count_max`; if
// `fill`, occluded candidates take the places that stay free, in their order.
//
// Requires: candidates are distinct and not `token`.
std::vector<uint32_t> ChooseNeighbors(const BuildKeys& keys, uint32_t token,
                                      std::span<const uint32_t> candidates, size_t count_max,
                                      bool fill);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_NEIGHBOR_CHOICE_H_
