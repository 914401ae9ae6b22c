// Walking a graph of tokens towards those with high scores.
//
// DIPRS (the DIPR search of AlayaDB): a token whose score is within beta of the best
// one found has its neighbours scored too, and so has one of the best l0 tokens, which
// leads the walk from the entries to where the high scores are. The best score rises
// on the way, so tokens wait in order of their scores: what waits until the end may by
// then be out of range and need no visit. (The paper visits in order of arrival; that
// visits more, and finds the same.)
//
// With a filter on positions, a neighbour that may not be seen is passed through: its
// own neighbours take its place, or a walk over a fifth of the tokens would find every
// path cut.
//
// Sources: AlayaDB, arXiv:2504.10326; ACORN, arXiv:2403.04871, for the filter.

#ifndef ALAYA_INDEX_GRAPH_GRAPH_WALK_H_
#define ALAYA_INDEX_GRAPH_GRAPH_WALK_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "index/token_index.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// The graph and the scores of one query, wherever they are kept.
class GraphAccess {
 public:
  virtual ~GraphAccess() = default;

  // Valid until the next call. Requires: token < node_count of the walk.
  virtual StatusOr<std::span<const uint32_t>> Neighbors(uint32_t token) = 0;
  // scores[i] is that of tokens[i].
  virtual Status Score(std::span<const uint32_t> tokens, std::span<float> scores) = 0;
};

struct GraphWalkOptions {
  size_t node_count = 0;
  TokenRange visible;  // tokens that may be scored
  // Where the walk begins: tokens whose scores are known, all visible, and others. The
  // others only if fewer than beam_width are known.
  std::span<const ScoredToken> scored;
  std::span<const uint32_t> entries;
  size_t beam_width = 64;  // l0, at least 1
  // Tokens within beta of the best score are visited whatever their number; unset
  // (negative): only the beam.
  double beta = -1;
  float best_score = -std::numeric_limits<float>::infinity();  // known from elsewhere
};

struct GraphWalk {
  // Everything scored, or given so, that was in range or in the beam when it was met.
  std::vector<ScoredToken> found;
  float best_score = -std::numeric_limits<float>::infinity();  // of tokens met
  uint64_t tokens_scored = 0;                                  // by the walk
};

// Errors: what `access` returns.
StatusOr<GraphWalk> WalkGraph(const GraphWalkOptions& options, GraphAccess& access);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_GRAPH_WALK_H_
