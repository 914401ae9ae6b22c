#include "index/exact_index.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "index/attention/attention_merge.h"
#include "index/dipr/dipr_selection.h"
#include "index/kernels/key_scores.h"
#include "index/kernels/softmax.h"
#include "index/key_pass.h"
#include "index/scratch_buffer.h"
#include "index/topk/top_k_selection.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Candidates are pruned when there are twice as many as the last pruning left, but
// not below this many: pruning a short list gains nothing.
constexpr size_t kPruneCountMin = 4096;

struct Scratch {
  ScratchBuffer<float> scores;
  ScratchBuffer<float> kept_scores;
  ScratchBuffer<uint32_t> kept_tokens;
  ScratchBuffer<float> weights;
};

// The candidates of one query during a scan in token order.
class Collector {
 public:
  Collector(const SearchRequest& request, size_t query_index)
      : request_(request),
        best_known_(request.best_scores.empty() ? -kInfinity : request.best_scores[query_index]) {
    UpdateBar();
  }

  // The scores of tokens first_token, first_token + 1, ... Requires: not empty.
  void Add(std::span<const float> scores, uint32_t first_token, Scratch& scratch) {
    const float max = MaxScore(scores);
    if (request_.want_mass) AddMass(scores, max, scratch);
    if (max > found_.best_score) {
      found_.best_score = max;
      UpdateBar();
    }
    if (max < bar_) return;
    const size_t room = scores.size() + kFilterPadding;
    const std::span<uint32_t> tokens = scratch.kept_tokens.Take(room);
    const std::span<float> kept = scratch.kept_scores.Take(room);
    const size_t count = FilterScores(scores, bar_, first_token, tokens, kept);
    for (size_t i = 0; i < count; ++i) found_.tokens.push_back({tokens[i], kept[i]});
    if (found_.tokens.size() >= prune_count_) Prune();
  }

  QueryCandidates Finish() {
    Prune();
    found_.log_sum_exp = log_sum_exp_;
    return std::move(found_);
  }

 private:
  void AddMass(std::span<const float> scores, float max, Scratch& scratch) {
    const double sum =
        SoftmaxWeights(scores, request_.scale, max, scratch.weights.Take(scores.size()));
    log_sum_exp_ =
        MergeLogSumExp(log_sum_exp_, double{request_.scale} * double{max} + std::log(sum));
  }

  // With DIPR the bar follows the best score; with top-k, pruning raises it.
  void UpdateBar() {
    if (const auto* dipr = std::get_if<DiprTarget>(&request_.target)) {
      bar_ = DiprBar(std::max(best_known_, found_.best_score), dipr->beta(request_.scale));
    }
  }

  void Prune() {
    if (const auto* top_k = std::get_if<TopKTarget>(&request_.target)) {
      KeepBest(top_k->k);
    } else if (std::holds_alternative<DiprTarget>(request_.target)) {
      std::erase_if(found_.tokens, [&](const ScoredToken& token) { return token.score < bar_; });
    }
    prune_count_ = std::max(kPruneCountMin, 2 * found_.tokens.size());
  }

  void KeepBest(size_t k) {
    std::vector<ScoredToken>& tokens = found_.tokens;
    if (!DropAllButTopK(k, &tokens)) return;
    // Of equal scores the earlier token is better: later ones must beat the last.
    bar_ = std::nextafter(tokens.back().score, kInfinity);
    std::ranges::sort(tokens, {}, &ScoredToken::token);
  }

  const SearchRequest& request_;
  const float best_known_;  // in other parts
  float bar_ = -kInfinity;
  size_t prune_count_ = kPruneCountMin;
  double log_sum_exp_ = -std::numeric_limits<double>::infinity();
  QueryCandidates found_;
};

}  // namespace

StatusOr<SearchResult> ExactIndex::Search(const SearchRequest& request) const {
  thread_local Scratch scratch;
  const size_t count = request.queries.rows();
  assert(request.visible.size() == count);
  std::vector<Collector> collectors;
  collectors.reserve(count);
  for (size_t i = 0; i < count; ++i) collectors.emplace_back(request, i);

  SearchResult result;
  KeyPass pass(reader_, request.visible, PassKinds::kKeys);
  ALAYA_ASSIGN_OR_RETURN(KeyBlock block, pass.Next());
  while (!block.empty()) {
    ALAYA_ASSIGN_OR_RETURN(KeyBlock next, pass.Next());
    const TokenRange tokens = block.tokens;
    const MatrixView<float> scores(scratch.scores.Take(count * tokens.size()).data(), count,
                                   tokens.size());
    KeyScores(request.queries, block.Rows(block.keys), scores, next.Rows(next.keys).bytes());
    block = std::move(next);
    for (size_t i = 0; i < count; ++i) {
      const TokenRange seen = Intersect(request.visible[i], tokens);
      if (seen.empty()) continue;
      collectors[i].Add(scores.row(i).subspan(seen.begin - tokens.begin, seen.size()),
                        static_cast<uint32_t>(seen.begin), scratch);
      result.tokens_scored += seen.size();
    }
  }
  for (Collector& collector : collectors) result.queries.push_back(collector.Finish());
  return result;
}

}  // namespace alaya
