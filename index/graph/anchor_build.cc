#include "index/graph/anchor_build.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "index/exact_index.h"
#include "index/graph/query_sample.h"

namespace alaya {
namespace {

// Half of the anchors lie in the last tenth of the text: a query is forecast from those
// that were asked shortly before it.
constexpr double kNearEnd = 1.0 / 96;
// Of the mean squared length of the anchors. Less follows noise, more is too stiff.
constexpr double kRidge = 0.1;
// Below its last listed token an anchor's scores are taken to lie as many times the
// distance from the middle one to the last.
constexpr float kUnlistedDepth = 3;
constexpr float kLevelMax = 255;
// Anchors that share one pass over the keys.
constexpr size_t kPassAnchors = 16;

// weights = (A A^T + ridge I)^-1 A for the anchors' matrix A, by Cholesky's factors.
std::vector<float> RidgeWeights(MatrixView<const float> anchors) {
  const size_t count = anchors.rows();
  const size_t d = anchors.cols();
  std::vector<double> factor(count * count);
  double trace = 0;
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (size_t e = 0; e < d; ++e) sum += double{anchors.row(i)[e]} * double{anchors.row(j)[e]};
      factor[i * count + j] = sum;
    }
    trace += factor[i * count + i];
  }
  const double mean_square = trace / static_cast<double>(count);
  const double ridge = std::max(kRidge * mean_square, std::numeric_limits<double>::min());
  std::vector<double> rows(count * d);
  // Forward: L Y = A, while L is made.
  for (size_t i = 0; i < count; ++i) {
    factor[i * count + i] += ridge;
    for (size_t j = 0; j <= i; ++j) {
      double sum = factor[i * count + j];
      for (size_t k = 0; k < j; ++k) sum -= factor[i * count + k] * factor[j * count + k];
      factor[i * count + j] = i == j ? std::sqrt(sum) : sum / factor[j * count + j];
    }
    for (size_t e = 0; e < d; ++e) {
      double sum = double{anchors.row(i)[e]};
      for (size_t k = 0; k < i; ++k) sum -= factor[i * count + k] * rows[k * d + e];
      rows[i * d + e] = sum / factor[i * count + i];
    }
  }
  // Backward: L^T W = Y.
  for (size_t i = count; i-- > 0;) {
    for (size_t e = 0; e < d; ++e) {
      double sum = rows[i * d + e];
      for (size_t k = i + 1; k < count; ++k) sum -= factor[k * count + i] * rows[k * d + e];
      rows[i * d + e] = sum / factor[i * count + i];
    }
  }
  std::vector<float> weights(rows.size());
  std::ranges::transform(rows, weights.begin(), [](double x) { return static_cast<float>(x); });
  return weights;
}

// What the levels of an anchor stand for, from the scores of the tokens that it lists.
void ChooseLevels(std::span<const ScoredToken> listed, float* lowest, float* step) {
  std::vector<float> scores(listed.size());
  std::ranges::transform(listed, scores.begin(), &ScoredToken::score);
  std::ranges::sort(scores);
  const double last = scores.front();
  const double middle = scores[scores.size() / 2];
  const double depth = last - double{kUnlistedDepth} * (middle - last);
  *lowest = static_cast<float>(std::max(depth, -double{std::numeric_limits<float>::max()} / 4));
  *step = std::max(scores.back() / kLevelMax - *lowest / kLevelMax, 0.0F);
}

uint8_t LevelOf(float score, float lowest, float step) {
  if (step <= 0) return 0;
  return static_cast<uint8_t>(
      std::clamp(std::round(score / step - lowest / step), 0.0F, kLevelMax));
}

// Tokens that fewer than one in so many anchors list are left out: no mixture puts them
// near its top, and they are most of all listed tokens.
constexpr size_t kAnchorsPerListing = 32;

// Sorts the levels of all anchors by token.
void ByToken(const std::vector<std::vector<ScoredToken>>& lists, size_t token_count,
             AnchorScores* scores) {
  scores->begins.assign(token_count + 1, 0);
  for (const auto& list : lists) {
    for (const ScoredToken& token : list) ++scores->begins[token.token + 1];
  }
  std::vector<bool> is_kept(token_count);
  for (size_t t = 0; t < token_count; ++t) {
    is_kept[t] = scores->begins[t + 1] * kAnchorsPerListing >= lists.size();
    scores->begins[t + 1] = scores->begins[t] + (is_kept[t] ? scores->begins[t + 1] : 0);
  }
  scores->levels.resize(scores->begins.back());
  std::vector<uint32_t> ends(scores->begins.begin(), scores->begins.end() - 1);
  for (size_t a = 0; a < lists.size(); ++a) {
    for (const ScoredToken& token : lists[a]) {
      if (!is_kept[token.token]) continue;
      scores->levels[ends[token.token]++] = {
          static_cast<uint8_t>(a), LevelOf(token.score, scores->lowest[a], scores->step[a])};
    }
  }
}

}  // namespace

StatusOr<AnchorScores> BuildAnchorScores(const KvReader& reader, MatrixView<const float> queries,
                                         const GraphBuildOptions& options,
                                         BuildProgress& progress) {
  const TokenRange targets = {std::min(options.first_token, reader.token_count()),
                              reader.token_count()};
  const size_t count =
      targets.empty() ? 0 : std::min({options.anchor_count, queries.rows(), kAnchorsMax});
  AnchorScores scores;
  scores.head_dim = reader.head_dim();
  scores.begins.assign(reader.token_count() + 1, 0);
  if (count == 0) return scores;
  DType key_dtype{};
  {
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows first_block, reader.ReadBlock(KvKind::kKey, 0));
    key_dtype = first_block.rows.dtype;
  }
  const std::vector<float> chosen = SampleQueries(queries, count, kNearEnd, key_dtype);
  const MatrixView<const float> anchors(chosen.data(), count, queries.cols());

  const size_t width = std::clamp<size_t>(targets.size() / 8, 1, options.anchor_tokens);
  std::vector<std::vector<ScoredToken>> lists(count);
  const size_t pass_count = (count + kPassAnchors - 1) / kPassAnchors;
  std::vector<Status> statuses(pass_count);
  options.parallel_for(pass_count, [&](size_t pass) {
    if (progress.should_stop()) return;
    const size_t begin = pass * kPassAnchors;
    const size_t pass_anchors = std::min(kPassAnchors, count - begin);
    const std::vector<TokenRange> visible(pass_anchors, targets);
    SearchRequest request;
    request.queries = anchors.rows_range(begin, pass_anchors);
    request.visible = visible;
    request.target = TopKTarget{width};
    auto found = ExactIndex(&reader).Search(request);
    statuses[pass] = found.status();
    if (!found.ok()) return;
    for (size_t i = 0; i < pass_anchors; ++i)
      lists[begin + i] = std::move(found->queries[i].tokens);
  });
  ALAYA_RETURN_IF_ERROR(progress.Stopped());
  for (const Status& status : statuses) ALAYA_RETURN_IF_ERROR(status);

  scores.weights = RidgeWeights(anchors);
  scores.lowest.resize(count);
  scores.step.resize(count);
  for (size_t a = 0; a < count; ++a) ChooseLevels(lists[a], &scores.lowest[a], &scores.step[a]);
  ByToken(lists, reader.token_count(), &scores);
  return scores;
}

}  // namespace alaya
