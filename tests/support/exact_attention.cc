#include "tests/support/exact_attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <variant>

#include "storage/types/check.h"
#include "tests/support/parallel_for.h"

namespace alaya {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

std::vector<uint32_t> TokensOf(TokenRange range) {
  std::vector<uint32_t> tokens(range.size());
  std::iota(tokens.begin(), tokens.end(), static_cast<uint32_t>(range.begin));
  return tokens;
}

double BestScore(std::span<const double> scores, TokenRange range) {
  double best = kNone;
  for (uint64_t t = range.begin; t < range.end; ++t) best = std::max(best, scores[t]);
  return best;
}

// Visible tokens, best first; of equal scores the earlier first.
std::vector<uint32_t> Ranked(std::span<const double> scores, TokenRange visible) {
  std::vector<uint32_t> tokens = TokensOf(visible);
  std::stable_sort(tokens.begin(), tokens.end(),
                   [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  return tokens;
}

}  // namespace

std::vector<double> ExactScores(std::span<const float> query, MatrixView<const float> keys) {
  ALAYA_CHECK(query.size() == keys.cols() || keys.empty());
  std::vector<double> scores(keys.rows());
  for (size_t t = 0; t < keys.rows(); ++t) {
    const std::span<const float> key = keys.row(t);
    double sum = 0;
    for (size_t i = 0; i < key.size(); ++i) sum += double{query[i]} * double{key[i]};
    scores[t] = sum;
  }
  return scores;
}

double ExactLogSumExp(std::span<const double> scores, double scale, TokenRange range) {
  const double best = BestScore(scores, range);
  if (best == kNone) return kNone;
  double sum = 0;
  for (uint64_t t = range.begin; t < range.end; ++t) sum += std::exp(scale * (scores[t] - best));
  return scale * best + std::log(sum);
}

ExactAttention AttendTokens(std::span<const double> scores, MatrixView<const float> values,
                            double scale, std::span<const uint32_t> tokens) {
  ALAYA_CHECK(scores.size() == values.rows());
  ExactAttention result;
  result.output.assign(values.cols(), 0);
  if (tokens.empty()) return result;
  double best = kNone;
  for (const uint32_t t : tokens) best = std::max(best, scores[t]);
  double sum = 0;
  for (const uint32_t t : tokens) {
    const double weight = std::exp(scale * (scores[t] - best));
    const std::span<const float> value = values.row(t);
    for (size_t i = 0; i < value.size(); ++i) result.output[i] += weight * double{value[i]};
    sum += weight;
  }
  for (double& element : result.output) element /= sum;
  result.log_sum_exp = scale * best + std::log(sum);
  return result;
}

ExactAttention AttendRange(std::span<const double> scores, MatrixView<const float> values,
                           double scale, TokenRange range) {
  return AttendTokens(scores, values, scale, TokensOf(range));
}

double MassOf(std::span<const double> scores, double scale, TokenRange visible,
              std::span<const uint32_t> tokens) {
  const double log_sum_exp = ExactLogSumExp(scores, scale, visible);
  double mass = 0;
  for (const uint32_t t : tokens) {
    if (visible.contains(t)) mass += std::exp(scale * scores[t] - log_sum_exp);
  }
  return std::min(mass, 1.0);
}

size_t TokensForMass(std::span<const double> scores, double scale, TokenRange visible,
                     double fraction) {
  const double log_sum_exp = ExactLogSumExp(scores, scale, visible);
  const std::vector<uint32_t> ranked = Ranked(scores, visible);
  double mass = 0;
  for (size_t i = 0; i < ranked.size(); ++i) {
    mass += std::exp(scale * scores[ranked[i]] - log_sum_exp);
    if (mass >= fraction) return i + 1;
  }
  return ranked.size();
}

std::vector<uint32_t> CriticalTokens(std::span<const double> scores, double scale,
                                     TokenRange visible, const Target& target, double margin) {
  if (visible.empty() || std::holds_alternative<FullTarget>(target)) return TokensOf(visible);
  double bar = kNone;
  std::vector<uint32_t> ranked;
  size_t count = 0;  // of `ranked`, for targets that count
  if (const auto* dipr = std::get_if<DiprTarget>(&target)) {
    bar = BestScore(scores, visible) - dipr->beta(scale);
  } else {
    ranked = Ranked(scores, visible);
    if (const auto* top_k = std::get_if<TopKTarget>(&target)) {
      count = std::min<size_t>(top_k->k, ranked.size());
    } else {
      count = TokensForMass(scores, scale, visible, std::get<MassTarget>(target).fraction);
    }
    bar = scores[ranked[count - 1]];
  }
  std::vector<uint32_t> tokens;
  if (margin == 0 && count > 0) {
    tokens.assign(ranked.begin(), ranked.begin() + static_cast<ptrdiff_t>(count));
    std::sort(tokens.begin(), tokens.end());
    return tokens;
  }
  for (const uint32_t t : TokensOf(visible)) {
    if (scores[t] >= bar - margin) tokens.push_back(t);
  }
  return tokens;
}

std::vector<uint32_t> WindowTokens(TokenRange visible, Window window) {
  const uint64_t recent = std::min(window.recent, visible.size());
  const TokenRange sink = Intersect(visible, {0, window.sink});
  return UnionOf(TokensOf(sink), TokensOf({visible.end - recent, visible.end}));
}

std::vector<uint32_t> UnionOf(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  std::vector<uint32_t> all;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  return all;
}

std::vector<ExactAttention> AttendAll(MatrixView<const float> queries, MatrixView<const float> keys,
                                      MatrixView<const float> values, double scale,
                                      std::span<const TokenRange> visible) {
  ALAYA_CHECK(visible.size() == queries.rows());
  std::vector<ExactAttention> results(queries.rows());
  ParallelFor(queries.rows(), [&](size_t i) {
    results[i] = AttendRange(ExactScores(queries.row(i), keys), values, scale, visible[i]);
  });
  return results;
}

}  // namespace alaya
