#include "index/graph/graph_walk.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <queue>
#include <utility>

#include "index/dipr/dipr_selection.h"
#include "index/scratch_buffer.h"
#include "index/selection.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A visit in a filtered graph passes through hidden neighbours until it has so many.
constexpr size_t kTokensPerVisitMin = 8;

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
  bool is_full() const { return scores_.size() >= width_; }
  float bar() const { return is_full() ? scores_.top() : -kInfinity; }

 private:
  size_t width_;
  std::priority_queue<float, std::vector<float>, std::greater<>> scores_;
};

struct LowerScore {
  bool operator()(const ScoredToken& a, const ScoredToken& b) const { return RanksBefore(b, a); }
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
    for (const ScoredToken& token : options_.scored) {
      Meet(token.token);
      Take(token);
    }
    scratch_.tokens.clear();
    if (beam_.is_full()) {
      ALAYA_RETURN_IF_ERROR(VisitWaiting());
      return std::move(walk_);
    }
    for (const uint32_t token : options_.entries) {
      if (Meet(token) && options_.visible.contains(token)) scratch_.tokens.push_back(token);
    }
    bypassed_.assign(options_.entries.begin(), options_.entries.end());
    while (true) {
      if (scratch_.tokens.empty()) ALAYA_RETURN_IF_ERROR(SeekVisible());
      ALAYA_RETURN_IF_ERROR(ScoreTokens());
      ALAYA_RETURN_IF_ERROR(VisitWaiting());
      if (beam_.is_full() || bypassed_.empty()) return std::move(walk_);
      scratch_.tokens.clear();
    }
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

  Status VisitWaiting() {
    while (!waiting_.empty() && waiting_.top().score >= bar()) {
      const uint32_t token = waiting_.top().token;
      waiting_.pop();
      ALAYA_RETURN_IF_ERROR(CollectNeighbors(token));
      ALAYA_RETURN_IF_ERROR(ScoreTokens());
    }
    return OkStatus();
  }

  // The visible tokens that are the fewest steps from bypassed ones: where to begin if
  // no entry may be seen, or to go on if the filter has cut the graph.
  Status SeekVisible() {
    while (scratch_.tokens.empty() && !bypassed_.empty()) {
      const std::vector<uint32_t> frontier = std::exchange(bypassed_, {});
      for (const uint32_t token : frontier) {
        ALAYA_ASSIGN_OR_RETURN(const std::span<const uint32_t> neighbors, access_.Neighbors(token));
        for (const uint32_t neighbor : neighbors) {
          if (!Meet(neighbor)) continue;
          (options_.visible.contains(neighbor) ? scratch_.tokens : bypassed_).push_back(neighbor);
        }
      }
    }
    return OkStatus();
  }

  // Remembers a hidden token for SeekVisible. With a full beam nobody will seek.
  void Bypass(uint32_t hidden) {
    if (!beam_.is_full() && !is_met(hidden)) bypassed_.push_back(hidden);
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
    // Fewer than a graph of the visible tokens alone would have given: passing through
    // costs more than scoring.
    const size_t enough = std::max(neighbors.size() / 4, kTokensPerVisitMin);
    for (const uint32_t hidden : scratch_.hidden) {
      if (scratch_.tokens.size() >= enough) {
        Bypass(hidden);
        continue;
      }
      Meet(hidden);
      ALAYA_ASSIGN_OR_RETURN(const std::span<const uint32_t> behind, access_.Neighbors(hidden));
      for (const uint32_t neighbor : behind) {
        if (!options_.visible.contains(neighbor)) {
          Bypass(neighbor);
        } else if (Meet(neighbor)) {
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
  std::vector<uint32_t> bypassed_;  // some twice
  GraphWalk walk_;
};

}  // namespace

StatusOr<GraphWalk> WalkGraph(const GraphWalkOptions& options, GraphAccess& access) {
  assert(options.beam_width >= 1);
  thread_local Scratch scratch;
  return Walker(options, access, scratch).Run();
}

}  // namespace alaya
