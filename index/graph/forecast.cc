#include "index/graph/forecast.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>

#include "index/kernels/key_scores.h"
#include "index/scratch_buffer.h"
#include "index/selection.h"

namespace alaya {
namespace {

// Queries that share a pass over the levels: a vector of every instruction set.
constexpr size_t kLanes = 4;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

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
  const size_t count = header.anchor_count();
  thread_local ScratchBuffer<float> buffer;
  const std::span<float> shares = buffer.Take(queries.rows() * count);
  KeyScores(queries, {std::as_bytes(weights).data(), count, size_t{header.head_dim}, DType::kF32},
            {shares.data(), queries.rows(), count});
  Mixture mixture;
  for (size_t i = 0; i < queries.rows(); ++i) {
    double offset = 0;
    for (size_t a = 0; a < count; ++a) {
      const float share = shares[i * count + a];
      offset += double{share} * double{header.lowest[a]};
      mixture.per_level[a][i] = share * header.step[a];
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
  const auto add = [&](size_t at) {
    const AnchorLevel listed = block.levels[at];
    return mixture.per_level[listed.anchor] * static_cast<float>(listed.level);
  };
  size_t next = 0;
  for (size_t r = 0; r < block.rows.size(); ++r) {
    const size_t row_end = block.rows[r].end;
    // Two sums, so that an addition need not wait for the one before it.
    Lanes even = mixture.offset;
    Lanes odd{};
    for (; next + 1 < row_end; next += 2) {
      even += add(next);
      odd += add(next + 1);
    }
    if (next < row_end) even += add(next++);
    forecasts->tokens[first + r] = block.first_token + block.rows[r].offset;
    forecasts->scores[first + r] = even + odd;
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
    std::ranges::nth_element(
        best, best.begin() + static_cast<ptrdiff_t>(count),
        [](const ScoredToken& a, const ScoredToken& b) { return RanksBefore(a, b); });
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
