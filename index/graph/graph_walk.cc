#include "index/graph/graph_walk.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <queue>

#include "index/dipr/dipr_selection.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Scratch {
  ScratchBuffer<uint64_t> met;  // one bit per token
  std::vector<uint32_t> tokens;
  std::vector<uint32_t> hidden;
  std::vector<float> scores;
};

// The best l0 scores: whoever is below the lowest of them is outside of the beam.
class Beam {
 public:
  explicit Beam(size_t width) : width_(width) {}

  void Add(float score) {
    if (scores_.size() < width_) {
      scores_.push(score);
    } else if (score > scores_.top()) {
      scores_.pop();
      scores_.push(score);
    }
  }
  float bar() const { return scores_.size() < width_ ? -kInfinity : scores_.top(); }

 private:
  size_t width_;
  std::priority_queue<float, std::vector<float>, std::greater<>> scores_;
};

struct LowerScore {
  bool operator()(const ScoredToken& a, const ScoredToken& b) const {
    return a.score < b.score || (a.score == b.score && a.token > b.token);
  }
};

class Walker {
 public:
  Walker(const GraphWalkOptions& options, GraphAccess& access, Scratch& scratch)
      : options_(options),
        access_(access),
        scratch_(scratch),
        met_(scratch.met.Take((options.node_count + 63) / 64)),
        beam_(options.beam_width) {
    std::ranges::fill(met_, 0);
    UpdateRange();
  }

  StatusOr<GraphWalk> Run() {
    scratch_.tokens.clear();
    for (const uint32_t token : options_.entries) {
      if (Meet(token) && options_.visible.contains(token)) scratch_.tokens.push_back(token);
    }
    ALAYA_RETURN_IF_ERROR(ScoreTokens());
    while (!waiting_.empty()) {
      const ScoredToken next = waiting_.top();
      if (next.score < bar()) break;
      waiting_.pop();
      ALAYA_RETURN_IF_ERROR(CollectNeighbors(next.token));
      ALAYA_RETURN_IF_ERROR(ScoreTokens());
    }
    return std::move(walk_);
  }

 private:
  // A token is worth a visit, and worth keeping, from here on.
  float bar() const { return std::min(beam_.bar(), range_bar_); }

  void UpdateRange() {
    if (options_.beta < 0) return;
    range_bar_ = DiprBar(std::max(options_.best_score, walk_.best_score), options_.beta);
  }

  bool is_met(uint32_t token) const { return (met_[token / 64] >> (token % 64) & 1) != 0; }
  // False if it was met before.
  bool Meet(uint32_t token) {
    uint64_t& word = met_[token / 64];
    const uint64_t bit = uint64_t{1} << (token % 64);
    const bool is_new = (word & bit) == 0;
    word |= bit;
    return is_new;
  }

  void Take(const ScoredToken& token) {
    beam_.Add(token.score);
    if (token.score > walk_.best_score) {
      walk_.best_score = token.score;
      UpdateRange();
    }
    if (token.score < bar()) return;
    walk_.found.push_back(token);
    waiting_.push(token);
  }

  // What to score after a visit.
  Status CollectNeighbors(uint32_t token) {
    scratch_.tokens.clear();
    scratch_.hidden.clear();
    ALAYA_ASSIGN_OR_RETURN(const std::span<const uint32_t> neighbors, access_.Neighbors(token));
    for (const uint32_t neighbor : neighbors) {
      if (options_.visible.contains(neighbor)) {
        if (Meet(neighbor)) scratch_.tokens.push_back(neighbor);
      } else if (!is_met(neighbor)) {
        scratch_.hidden.push_back(neighbor);
      }
    }
    // As many as a graph of the visible tokens alone would have given, about.
    const size_t enough = neighbors.size() / 2;
    for (const uint32_t hidden : scratch_.hidden) {
      if (scratch_.tokens.size() >= enough) break;
      Meet(hidden);
      ALAYA_ASSIGN_OR_RETURN(const std::span<const uint32_t> behind, access_.Neighbors(hidden));
      for (const uint32_t neighbor : behind) {
        if (options_.visible.contains(neighbor) && Meet(neighbor)) {
          scratch_.tokens.push_back(neighbor);
        }
      }
    }
    return OkStatus();
  }

  Status ScoreTokens() {
    const std::vector<uint32_t>& tokens = scratch_.tokens;
    scratch_.scores.resize(tokens.size());
    ALAYA_RETURN_IF_ERROR(access_.Score(tokens, scratch_.scores));
    walk_.tokens_scored += tokens.size();
    for (size_t i = 0; i < tokens.size(); ++i) Take({tokens[i], scratch_.scores[i]});
    return OkStatus();
  }

  const GraphWalkOptions& options_;
  GraphAccess& access_;
  Scratch& scratch_;
  const std::span<uint64_t> met_;
  Beam beam_;
  float range_bar_ = kInfinity;
  std::priority_queue<ScoredToken, std::vector<ScoredToken>, LowerScore> waiting_;
  GraphWalk walk_;
};

}  // namespace

StatusOr<GraphWalk> WalkGraph(const GraphWalkOptions& options, GraphAccess& access) {
  assert(options.beam_width >= 1);
  thread_local Scratch scratch;
  return Walker(options, access, scratch).Run();
}

}  // namespace alaya
