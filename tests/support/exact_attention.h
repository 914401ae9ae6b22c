// The oracle: attention and critical sets by their definition, in double.
//
// Slow and plain on purpose. It reads keys and values as floats; give it what the
// server was given, after rounding to the stored type (element_codec.h), so that a
// difference is an error and not the rounding of the input.

#ifndef ALAYA_TESTS_SUPPORT_EXACT_ATTENTION_H_
#define ALAYA_TESTS_SUPPORT_EXACT_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "index/target.h"
#include "storage/types/ids.h"
#include "storage/types/views.h"

namespace alaya {

// Attention of one query over some tokens.
struct ExactAttention {
  std::vector<double> output;  // [head_dim]; zeros without tokens
  double log_sum_exp = -std::numeric_limits<double>::infinity();
};

// Unscaled inner products with every key.
std::vector<double> ExactScores(std::span<const float> query, MatrixView<const float> keys);

// Attention over the tokens of a range, or over listed tokens. `scores` are those of
// ExactScores; `values` has as many rows.
ExactAttention AttendRange(std::span<const double> scores, MatrixView<const float> values,
                           double scale, TokenRange range);
ExactAttention AttendTokens(std::span<const double> scores, MatrixView<const float> values,
                            double scale, std::span<const uint32_t> tokens);

// ln sum exp(scale * score) over a range; -inf if it is empty.
double ExactLogSumExp(std::span<const double> scores, double scale, TokenRange range);

// Share of the attention mass over `visible` that the listed tokens hold, in [0, 1].
double MassOf(std::span<const double> scores, double scale, TokenRange visible,
              std::span<const uint32_t> tokens);

// How many tokens, best first, it takes to hold this fraction of the mass.
size_t TokensForMass(std::span<const double> scores, double scale, TokenRange visible,
                     double fraction);

// The target's tokens by rising position, the window not added.
//
// `margin` in units of the score moves the bar: with +margin the set holds every
// token that rounding errors of up to margin / 2 per score may let in, with -margin
// only those that they cannot keep out.
std::vector<uint32_t> CriticalTokens(std::span<const double> scores, double scale,
                                     TokenRange visible, const Target& target, double margin = 0);

// The window's tokens that are visible, by rising position. The sink counts from
// position 0 of the sequence, the recent ones from the end of `visible`.
std::vector<uint32_t> WindowTokens(TokenRange visible, Window window);

// The union of two rising lists.
std::vector<uint32_t> UnionOf(std::span<const uint32_t> a, std::span<const uint32_t> b);

// Exact attention of many queries at once, on all cores: each row of `queries` over
// its own visible range.
std::vector<ExactAttention> AttendAll(MatrixView<const float> queries, MatrixView<const float> keys,
                                      MatrixView<const float> values, double scale,
                                      std::span<const TokenRange> visible);

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_EXACT_ATTENTION_H_
