// The final choice: which candidates belong to a target, across all parts.
//
// Every target takes a prefix of the tokens ordered by falling score, earlier tokens
// first among equals. So a choice is one point in that order: the last token taken.

#ifndef ALAYA_INDEX_SELECTION_H_
#define ALAYA_INDEX_SELECTION_H_

#include <cstdint>
#include <limits>

namespace alaya {

struct SequenceToken {
  uint64_t token = 0;  // position in the sequence
  float score = 0;     // inner product, unscaled

  friend bool operator==(const SequenceToken&, const SequenceToken&) = default;
};

// The order of every choice, of SequenceTokens or of one segment's ScoredTokens: falling
// score, then rising token.
template <typename Token>
constexpr bool RanksBefore(const Token& a, const Token& b) {
  return a.score > b.score || (a.score == b.score && a.token < b.token);
}

struct Selection {
  // Everything up to here; by default everything.
  SequenceToken last = {std::numeric_limits<uint64_t>::max(),
                        -std::numeric_limits<float>::infinity()};

  constexpr bool takes(const SequenceToken& candidate) const {
    return !RanksBefore(last, candidate);
  }
};

}  // namespace alaya

#endif  // ALAYA_INDEX_SELECTION_H_
