#include "index/graph/forecast.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>

#include "index/selection.h"

namespace alaya {
namespace {

// Queries that share a pass over the levels: a vector of every instruction set.
constexpr size_t kLanes = 4;
using Lanes = std::array<float, kLanes>;

// Of all forecasts one in so many is looked at to find the bar for the best ones.
constexpr size_t kBarInterval = 16;
// The bar is a guess from those, so it is set lower by so many deviations of their number.
constexpr double kBarDeviations = 2;

// Some queries as mixtures of anchors.
struct Mixture {
  Lanes offset{};                              // forecast of a token that no anchor lists
  std::array<Lanes, kAnchorsMax> per_level{};  // what a level of an anchor adds
};

Mixture MixtureOf(const AnchorHeader& header, std::span<const float> weights,
                  MatrixView<const float> queries) {
  Mixture mixture;
  const size_t d = header.head_dim;
  for (size_t i = 0; i < queries.rows(); ++i) {
    const std::span<const float> query = queries.row(i);
    double offset = 0;
    for (size_t a = 0; a < header.anchor_count(); ++a) {
      float weight = 0;
      for (size_t e = 0; e < d; ++e) weight += weights[a * d + e] * query[e];
      offset += double{weight} * double{header.lowest[a]};
      mixture.per_level[a][i] = weight * header.step[a];
    }
    mixture.offset[i] = static_cast<float>(offset);
  }
  return mixture;
}

// Forecasts of some listed tokens, for kLanes queries.
struct Forecasts {
  std::vector<uint32_t> tokens;
  std::vector<Lanes> scores;
};

void AddForecasts(const Mixture& mixture, const AnchorBlock& block, Forecasts* forecasts) {
  const size_t first = forecasts->tokens.size();
  forecasts->tokens.resize(first + block.rows.size());
  forecasts->scores.resize(first + block.rows.size());
  size_t next = 0;
  for (size_t r = 0; r < block.rows.size(); ++r) {
    Lanes sum = mixture.offset;
    for (; next < block.rows[r].end; ++next) {
      const AnchorLevel listed = block.levels[next];
      const auto level = static_cast<float>(listed.level);
      const Lanes& per_level = mixture.per_level[listed.anchor];
      for (size_t i = 0; i < kLanes; ++i) sum[i] += level * per_level[i];
    }
    forecasts->tokens[first + r] = block.first_token + block.rows[r].offset;
    forecasts->scores[first + r] = sum;
  }
}

// The best forecasts of one query.
std::vector<ScoredToken> TakeBest(const Forecasts& forecasts, size_t lane, TokenRange visible,
                                  size_t count) {
  const auto [begin, end] = [&] {
    const auto& tokens = forecasts.tokens;
    return std::pair(std::ranges::lower_bound(tokens, visible.begin) - tokens.begin(),
                     std::ranges::lower_bound(tokens, visible.end) - tokens.begin());
  }();
  const std::span<const Lanes> scores(forecasts.scores.data() + begin,
                                      static_cast<size_t>(std::max<ptrdiff_t>(end - begin, 0)));
  float bar = -std::numeric_limits<float>::infinity();
  if (count < scores.size()) {
    std::vector<float> some;
    for (size_t i = 0; i < scores.size(); i += kBarInterval) {
      if (std::isfinite(scores[i][lane])) some.push_back(scores[i][lane]);
    }
    const double wanted = static_cast<double>(count) * static_cast<double>(some.size()) /
                          static_cast<double>(scores.size());
    const auto rank = static_cast<size_t>(wanted + kBarDeviations * (std::sqrt(wanted) + 1));
    if (rank < some.size()) {
      std::ranges::nth_element(some, some.begin() + static_cast<ptrdiff_t>(rank), std::greater());
      bar = some[rank];
    }
  }
  std::vector<ScoredToken> best;
  for (size_t i = 0; i < scores.size(); ++i) {
    const float score = scores[i][lane];
    if (!(score >= bar) || !std::isfinite(score)) continue;
    best.push_back({forecasts.tokens[static_cast<size_t>(begin) + i], score});
  }
  if (best.size() > count) {
    std::ranges::nth_element(best, best.begin() + static_cast<ptrdiff_t>(count),
                             RanksBefore<ScoredToken>);
    best.resize(count);
  }
  return best;
}

}  // namespace

StatusOr<std::vector<std::vector<ScoredToken>>> ForecastBest(const AnchorHeader& header,
                                                             std::span<const float> weights,
                                                             const IndexBlockReader& blocks,
                                                             MatrixView<const float> queries,
                                                             std::span<const TokenRange> visible,
                                                             std::span<const size_t> counts) {
  assert(visible.size() == queries.rows() && counts.size() == queries.rows());
  thread_local Forecasts forecasts;
  std::vector<std::vector<ScoredToken>> best(queries.rows());
  for (size_t first = 0; first < queries.rows(); first += kLanes) {
    const size_t lanes = std::min(kLanes, queries.rows() - first);
    TokenRange seen = {header.token_count, 0};
    for (const TokenRange range : visible.subspan(first, lanes)) {
      if (range.empty()) continue;
      seen = {std::min(seen.begin, range.begin), std::max(seen.end, range.end)};
    }
    const Mixture mixture = MixtureOf(header, weights, queries.rows_range(first, lanes));
    forecasts.tokens.clear();
    forecasts.scores.clear();
    for (size_t b = 0; b < header.first_token.size(); ++b) {
      const bool is_last = b + 1 == header.first_token.size();
      const TokenRange tokens = {header.first_token[b],
                                 is_last ? header.token_count : header.first_token[b + 1]};
      if (Intersect(tokens, seen).empty()) continue;
      ALAYA_ASSIGN_OR_RETURN(const PinnedBytes pinned, blocks.ReadBlock(header.score_block(b)));
      ALAYA_ASSIGN_OR_RETURN(const AnchorBlock block, ReadAnchorBlock(header, b, pinned.bytes));
      if (!block.rows.empty() && block.first_token + block.rows.back().offset >= tokens.end) {
        return DataLoss("anchor blocks: a token in the wrong block");
      }
      AddForecasts(mixture, block, &forecasts);
    }
    for (size_t i = 0; i < lanes; ++i) {
      best[first + i] = TakeBest(forecasts, i, visible[first + i], counts[first + i]);
    }
  }
  return best;
}

}  // namespace alaya
