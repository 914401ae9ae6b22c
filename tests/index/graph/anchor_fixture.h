// Anchors' scores for the tests of what reads them.

#ifndef ALAYA_TESTS_INDEX_GRAPH_ANCHOR_FIXTURE_H_
#define ALAYA_TESTS_INDEX_GRAPH_ANCHOR_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <random>

#include "index/graph/anchor_scores.h"
#include "tests/index/random_tensors.h"

namespace alaya {

// Random weights and levels; about one token in listed_interval is listed, by one to all
// of the anchors.
inline AnchorScores RandomAnchorScores(size_t token_count, size_t anchor_count, size_t head_dim,
                                       size_t listed_interval, uint32_t seed) {
  std::mt19937 random(seed);
  AnchorScores scores;
  scores.head_dim = head_dim;
  scores.weights = RandomFloats(anchor_count * head_dim, 1.0F, seed);
  scores.lowest = RandomFloats(anchor_count, 5.0F, seed + 1);
  for (size_t a = 0; a < anchor_count; ++a) {
    scores.step.push_back(static_cast<float>(random() % 100) / 1000);
  }
  scores.begins.push_back(0);
  for (size_t t = 0; t < token_count; ++t) {
    const size_t interval =
        anchor_count == 0 || random() % listed_interval != 0 ? 0 : 1 + random() % anchor_count;
    for (size_t a = 0; interval > 0 && a < anchor_count; a += interval) {
      scores.levels.push_back({static_cast<uint8_t>(a), static_cast<uint8_t>(random() % 256)});
    }
    scores.begins.push_back(static_cast<uint32_t>(scores.levels.size()));
  }
  return scores;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_GRAPH_ANCHOR_FIXTURE_H_
