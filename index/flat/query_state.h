// What a search of a flat index knows of one of its queries.

#ifndef ALAYA_INDEX_FLAT_QUERY_STATE_H_
#define ALAYA_INDEX_FLAT_QUERY_STATE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "index/kernels/code_scores.h"
#include "storage/types/ids.h"

namespace alaya {

inline constexpr float kNoScore = -std::numeric_limits<float>::infinity();
// Candidates of top-k are pruned when there are four times as many as the last pruning
// left, and from here on.
inline constexpr size_t kPruneCountMin = 1024;

struct QueryState {
  TokenRange visible;  // within the reader
  ErrorFactors fine_bound;
  ErrorFactors coarse_bound;
  float best_known = kNoScore;  // elsewhere, exact
  float best_exact = kNoScore;  // of this segment's tokens that were scored exactly
  float bar = kNoScore;
  // Tokens that may reach the bar, by rising number: what their scores are at most.
  std::vector<uint32_t> tokens;
  std::vector<float> upper;
  std::vector<float> approximate;  // their scores; only for top-k
  std::vector<uint32_t> heavy;     // by rising number; must be attended, whatever the bar
  size_t prune_count = kPruneCountMin;
  // The highest approximate score so far.
  float top = kNoScore;
  uint32_t top_token = 0;
  // ln sum exp of the tokens that are not coded.
  double uncovered_log_sum_exp = kNoScore;

  float best() const { return std::max(best_known, best_exact); }

  // Whether a filter's top is higher; follows it then.
  bool FollowTop(const ScoreFilter& filter) {
    if (filter.top <= top) return false;
    top = filter.top;
    top_token = filter.top_token;
    return true;
  }

  // Of its candidates.
  void DropBelowBar() {
    size_t kept = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (upper[i] < bar) continue;
      tokens[kept] = tokens[i];
      upper[kept] = upper[i];
      if (!approximate.empty()) approximate[kept] = approximate[i];
      ++kept;
    }
    tokens.resize(kept);
    upper.resize(kept);
    if (!approximate.empty()) approximate.resize(kept);
  }
};

// Says of tokens with rising numbers whether they must be attended, even below the bar: heavy
// ones, and those that are not coded.
class HeavyTokens {
 public:
  HeavyTokens(std::span<const uint32_t> heavy, uint64_t coded_count)
      : heavy_(heavy), coded_count_(coded_count) {}

  bool operator()(uint64_t token) {
    while (next_ < heavy_.size() && heavy_[next_] < token) ++next_;
    return token >= coded_count_ || (next_ < heavy_.size() && heavy_[next_] == token);
  }

 private:
  std::span<const uint32_t> heavy_;
  uint64_t coded_count_;
  size_t next_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_QUERY_STATE_H_
