// Anchors: sampled queries whose scores of their best tokens are kept, so that those of
// a query to come can be forecast.
//
// A score is linear in the query: if q = sum of w_a * a over anchors a, then its score
// of any key k is the sum of w_a * <a, k>. Queries of a head vary in few directions, so
// a mixture of anchors that were asked near the end of the text is close to the next
// query; the weights come from ridge regression, which for fixed anchors is a matrix
// times the query. An anchor's lowest scores are left out: whatever it does not list
// counts as a little less than the last that it lists.
//
// A graph alone misses tokens that none of the walk's neighbours leads to; measured, the
// best forecasts hold nearly all of a DIPR set, and the walk finds the rest.

#ifndef ALAYA_INDEX_GRAPH_ANCHOR_SCORES_H_
#define ALAYA_INDEX_GRAPH_ANCHOR_SCORES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace alaya {

inline constexpr size_t kAnchorsMax = 256;

// One anchor's score of one token: lowest[anchor] + level * step[anchor].
struct AnchorLevel {
  uint8_t anchor = 0;
  uint8_t level = 0;

  friend bool operator==(const AnchorLevel&, const AnchorLevel&) = default;
};

struct AnchorScores {
  size_t head_dim = 0;
  // [anchor_count, head_dim]: row a times a query is the weight of anchor a in it.
  std::vector<float> weights;
  std::vector<float> lowest;  // [anchor_count], of all tokens that the anchor does not list
  std::vector<float> step;    // [anchor_count], >= 0
  // Levels of token t: [begins[t], begins[t + 1]), by rising anchor.
  std::vector<uint32_t> begins;  // [token_count + 1]
  std::vector<AnchorLevel> levels;

  size_t anchor_count() const { return lowest.size(); }
  std::span<const AnchorLevel> of(size_t token) const {
    return std::span(levels).subspan(begins[token], begins[token + 1] - begins[token]);
  }
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_ANCHOR_SCORES_H_
