// Approximate scores: inner products of queries with coded keys (key_codes.h).
//
// A query is rotated and meets the codes in two forms: rounded to 8-bit integers, so that
// a score is a sum of products of small integers, which processors add up four at a
// time; and as tables of sums of products, which they look up 64 at a time.

#ifndef ALAYA_INDEX_KERNELS_CODE_SCORES_H_
#define ALAYA_INDEX_KERNELS_CODE_SCORES_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/kernels/key_codes.h"
#include "storage/types/views.h"

namespace alaya {

// Which elements of a key its coarse codes hold (KeyMap): `count` from the first, 0: all.
struct CoarseElements {
  size_t count = 0;
  // Root mean square of the others in queries like those that the map was made for, relative to
  // the first ones'; and their share of the squared coarse errors.
  float rest_size = 0;
  float rest_share = 0;
};

// Rotated or mapped queries as the scan reads them.
class CodeQueries {
 public:
  struct Query {
    float step = 0;           // element i is about step * codes[i]
    int32_t code_sum = 0;     // over all elements
    float centre_score = 0;   // inner product of query and centre
    double length = 0;        // of the query
    double error_length = 0;  // of what rounding to codes leaves
    // Of a coarse score, for each unit of the token's coarse error: how far it is off, root mean
    // square; the same for any share of the elements without coarse codes.
    double coarse_deviation = 0;
    double coarse_deviation_max = 0;

    // Sums of table entries e stand for table_step * e + table_bias, off by about
    // table_deviation.
    float table_step = 0;
    float table_bias = 0;
    double table_deviation = 0;
  };

  // A table's entry is the sum of products of three elements with each of the 64
  // combinations of their high codes, rounded to 6 bits: four entries add up to a byte.
  // Three rows of the high plane make a triple of four tables: the first three elements
  // of each row, then the last elements of all three.
  static constexpr size_t kTableBytes = 64;
  static constexpr size_t kTripleBytes = 4 * kTableBytes;

  CodeQueries() = default;
  // Shapes: rotated [query_count, head_dim], centre_scores [query_count].
  // Requires: finite numbers.
  CodeQueries(MatrixView<const float> rotated, std::span<const float> centre_scores,
              const CoarseElements& coarse = {});

  size_t size() const { return queries_.size(); }
  size_t head_dim() const { return head_dim_; }
  size_t coarse_dim() const { return coarse_.count; }
  const Query& operator[](size_t i) const { return queries_[i]; }
  // 64 bytes per 64 elements, the last ones filled up with zeros; element e lies at
  // CodePlace(e), which is the order in which codes leave their bytes.
  static constexpr size_t CodePlace(size_t e) { return e / 16 * 16 + e % 4 * 4 + e / 4 % 4; }
  std::span<const int8_t> codes(size_t i) const {
    return std::span(codes_).subspan(i * padded_dim_, padded_dim_);
  }
  size_t triple_count() const { return (HighRowCount(coarse_.count) + 2) / 3; }
  // [triple_count, 4, 64], 64-byte aligned.
  const uint8_t* tables(size_t i) const {
    return tables_.get() + i * triple_count() * kTripleBytes;
  }

 private:
  void MakeCodes(std::span<const float> elements, size_t i);
  void MakeTables(std::span<const float> elements, size_t i);
  void MakeDeviations(std::span<const float> elements, Query& query) const;

  size_t head_dim_ = 0;
  CoarseElements coarse_;
  size_t padded_dim_ = 0;
  std::vector<Query> queries_;
  std::vector<int8_t> codes_;
  hwy::AlignedFreeUniquePtr<uint8_t[]> tables_;
};

// How far an approximate score may be from the exact one: for a token with `scale` and
// `error`, error_factor * error + scale_factor * scale + constant.
struct ErrorFactors {
  float error_factor = 0;  // above 0: infinite errors must give infinite bounds
  float scale_factor = 0;
  float constant = 0;
};

// Which tokens' scores may reach a bar, by a query's approximate scores of a block.
struct ScoreFilter {
  // What to look for.
  ErrorFactors factors;
  float bar = 0;
  size_t begin = 0;  // tokens of the block that are looked at, counted from its first
  size_t end = 0;
  uint32_t first_token = 0;  // the number of the block's first token
  // What was found: tokens with upper = score + bound >= bar.
  size_t count = 0;
  // Either one bit for each token of the block, in words of whole groups, which several filters may
  // share: those of found tokens are set.
  uint64_t* marks = nullptr;
  // Or, without marks, these, by rising number. Both have room for end - begin + kFilterPadding
  // (softmax.h).
  std::span<uint32_t> tokens;
  std::span<float> upper;
  // The highest score seen, and whose it is, if above what the caller left here.
  float top = -std::numeric_limits<float>::infinity();
  uint32_t top_token = 0;
};

// scores[i][j] = centre_score + fine_scale[j] * <query i, code of token j - 7.5>, from
// both planes of the codes. Passes them through the filters, none or one for each query,
// with the fine scales and errors.
//
// Shapes: scores [queries.size(), keys.token_count()].
// Guarantees: relative to the sum of the magnitudes of both terms, rounding is below
//   2^-22.
// Cost: one pass over both planes. Meanwhile fetches `upcoming`, the codes that the
//   caller scans next, into the cache.
void FineScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                std::span<ScoreFilter> filters = {}, const KeyCodes& upcoming = {});
// Some groups of a block's codes, by rising number.
struct ListedCodes {
  KeyCodes codes;
  std::span<const uint32_t> groups;
};
// The same for listed groups alone, whose scores are written one after the other; filters count
// tokens as ever, and see no others. `upcoming`: what is scanned next, in this order.
//
// Shapes: scores [queries.size(), 64 * keys.groups.size()].
void ListedFineScores(const CodeQueries& queries, const ListedCodes& keys, MatrixView<float> scores,
                      std::span<ScoreFilter> filters, std::span<const ListedCodes> upcoming = {});
void FineScoresReference(const CodeQueries& queries, const KeyCodes& keys,
                         MatrixView<double> scores);

// How a query weighs coarse scores, whose errors are some nats: a token with weight
//     exp(scale * (score - top) - error_nats * error^2)
// where the last term takes back by how much such errors inflate the mean of an exponential.
struct CoarseWeighing {
  float scale = 0;  // above 0
  float top = 0;
  float error_nats = 0;
  // Of each group of the block, over all its tokens: sums of weights and of their squares.
  std::span<float> weights;
  std::span<float> square_sums;
};

// Passes through the filters, one for each query, with the coarse scales and errors,
//     centre_score + coarse_scale[j] * <query i, high code of token j - 1.5>,
// over the queries' coarse elements, from the high plane alone and with the tables' rounding: half
// the bytes and less than half the time of FineScores. Nobody sees the scores of other tokens: a
// filter's top is one that may reach its bar, or any lower score. `weighing`: none or one for each
// query.
//
// `upcoming` as for FineScores.
void FilterCoarseScores(const CodeQueries& queries, const KeyCodes& keys,
                        std::span<ScoreFilter> filters, const KeyCodes& upcoming = {},
                        std::span<const CoarseWeighing> weighing = {});
// The scores. Shapes: rotated as CodeQueries', scores [queries.size(), keys.token_count()].
// Without the tables' rounding.
void CoarseScoresReference(const CodeQueries& queries, MatrixView<const float> rotated,
                           const KeyCodes& keys, MatrixView<double> scores);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_CODE_SCORES_H_
