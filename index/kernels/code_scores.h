// Approximate scores: inner products of queries with coded keys (key_codes.h).
//
// A query is rotated and rounded to 8-bit integers, so that a score is a sum of
// products of small integers, which processors add up four at a time.

#ifndef ALAYA_INDEX_KERNELS_CODE_SCORES_H_
#define ALAYA_INDEX_KERNELS_CODE_SCORES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/kernels/key_codes.h"
#include "storage/types/views.h"

namespace alaya {

// Rotated queries as the scan reads them.
class CodeQueries {
 public:
  struct Query {
    float step = 0;           // element i is about step * codes[i]
    int32_t code_sum = 0;     // over all elements
    float centre_score = 0;   // inner product of query and centre
    double length = 0;        // of the query
    double error_length = 0;  // of what rounding to codes leaves
  };

  CodeQueries() = default;
  // Shapes: rotated [query_count, head_dim], centre_scores [query_count].
  // Requires: finite numbers.
  CodeQueries(MatrixView<const float> rotated, std::span<const float> centre_scores);

  size_t size() const { return queries_.size(); }
  size_t head_dim() const { return head_dim_; }
  const Query& operator[](size_t i) const { return queries_[i]; }
  // 64 bytes per 64 elements, the last ones filled up with zeros. Byte 16w + 4i + j is
  // element 16w + 4j + i of the 64: the order in which codes leave their bytes.
  std::span<const int8_t> codes(size_t i) const {
    return std::span(codes_).subspan(i * padded_dim_, padded_dim_);
  }

 private:
  size_t head_dim_ = 0;
  size_t padded_dim_ = 0;
  std::vector<Query> queries_;
  std::vector<int8_t> codes_;
};

// scores[i][j] = centre_score + fine_scale[j] * <query i, code of token j - 7.5>, from
// both planes of the codes.
//
// Shapes: scores [queries.size(), keys.token_count()].
// Guarantees: relative to the sum of the magnitudes of both terms, rounding is below
//   2^-22.
void FineScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores);
void FineScoresReference(const CodeQueries& queries, const KeyCodes& keys,
                         MatrixView<double> scores);

// How far an approximate score may be from the exact one: for a token with `scale` and
// `error`, error_factor * error + scale_factor * scale + constant.
struct ErrorFactors {
  float error_factor = 0;
  float scale_factor = 0;
  float constant = 0;
};

// upper[j] = scores[j] + the bound of token j; infinite errors give infinite bounds.
//
// Requires: equal sizes; scales and errors are bf16; error_factor > 0.
void UpperBounds(std::span<const float> scores, std::span<const uint16_t> scales,
                 std::span<const uint16_t> errors, const ErrorFactors& factors,
                 std::span<float> upper);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_CODE_SCORES_H_
