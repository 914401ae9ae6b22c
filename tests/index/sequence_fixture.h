// A sequence in several parts, and attention over it by definition, in double.

#ifndef ALAYA_TESTS_INDEX_SEQUENCE_FIXTURE_H_
#define ALAYA_TESTS_INDEX_SEQUENCE_FIXTURE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "index/exact_index.h"
#include "index/sequence_part.h"
#include "tests/index/array_kv_reader.h"

namespace alaya {

struct SequenceShape {
  // Tokens of each part; those of the last one have no index (the tail).
  std::vector<size_t> part_tokens;
  size_t head_dim = 64;
  DType dtype = DType::kBF16;
  size_t block_tokens = 16;
  float key_deviation = 1;
  float value_deviation = 1;
};

class TestSequence {
 public:
  TestSequence(const SequenceShape& shape, uint32_t seed) : head_dim_(shape.head_dim) {
    uint64_t begin = 0;
    for (size_t p = 0; p < shape.part_tokens.size(); ++p) {
      const size_t count = shape.part_tokens[p] * head_dim_;
      const auto part_seed = seed + 10 * static_cast<uint32_t>(p);
      readers_.push_back(
          std::make_unique<ArrayKvReader>(RandomFloats(count, shape.key_deviation, part_seed + 1),
                                          RandomFloats(count, shape.value_deviation, part_seed + 2),
                                          head_dim_, shape.dtype, shape.block_tokens));
      indexes_.push_back(std::make_unique<ExactIndex>(readers_.back().get()));
      const bool is_tail = p + 1 == shape.part_tokens.size();
      parts_.push_back({readers_.back().get(), is_tail ? nullptr : indexes_.back().get(), begin});
      begin += shape.part_tokens[p];
    }
  }

  const std::vector<SequencePart>& parts() const { return parts_; }
  ArrayKvReader& reader(size_t part_index) { return *readers_[part_index]; }
  size_t head_dim() const { return head_dim_; }
  uint64_t token_count() const { return parts_.empty() ? 0 : parts_.back().range().end; }
  const float* key(uint64_t token) const { return Row(token, &ArrayKvReader::key); }
  const float* value(uint64_t token) const { return Row(token, &ArrayKvReader::value); }
  // True if the token is attended whatever its score.
  bool is_unindexed(uint64_t token) const {
    return std::ranges::any_of(parts_, [&](const SequencePart& part) {
      return part.index == nullptr && part.range().contains(token);
    });
  }

  double Score(std::span<const float> query, uint64_t token) const {
    double sum = 0;
    for (size_t e = 0; e < head_dim_; ++e) sum += double{query[e]} * double{key(token)[e]};
    return sum;
  }
  // A bound on the rounding of float arithmetic in a score: head_dim additions, each
  // at most half an ulp of the sum of magnitudes.
  double ScoreTolerance(std::span<const float> query, uint64_t token) const {
    double sum = 0;
    for (size_t e = 0; e < head_dim_; ++e)
      sum += std::fabs(double{query[e]} * double{key(token)[e]});
    return static_cast<double>(head_dim_) * 0x1p-24 * sum;
  }

 private:
  const float* Row(uint64_t token, const float* (ArrayKvReader::*row)(size_t) const) const {
    size_t part = 0;
    while (!parts_[part].range().contains(token)) ++part;
    return ((*readers_[part]).*row)(token - parts_[part].token_begin);
  }

  size_t head_dim_;
  std::vector<std::unique_ptr<ArrayKvReader>> readers_;
  std::vector<std::unique_ptr<ExactIndex>> indexes_;
  std::vector<SequencePart> parts_;
};

// Attention of one query over a set of tokens: the softmax as it is defined.
struct OracleAttention {
  std::vector<double> output;
  double log_sum_exp = -std::numeric_limits<double>::infinity();
  double value_magnitude = 0;  // of the largest value element attended
};

inline OracleAttention AttendByDefinition(const TestSequence& sequence,
                                          std::span<const float> query,
                                          const std::set<uint64_t>& tokens, double scale) {
  OracleAttention result;
  result.output.assign(sequence.head_dim(), 0.0);
  double max = -std::numeric_limits<double>::infinity();
  for (const uint64_t token : tokens) max = std::max(max, scale * sequence.Score(query, token));
  double denominator = 0;
  for (const uint64_t token : tokens) {
    const double weight = std::exp(scale * sequence.Score(query, token) - max);
    denominator += weight;
    for (size_t e = 0; e < sequence.head_dim(); ++e) {
      const double value = double{sequence.value(token)[e]};
      result.output[e] += weight * value;
      result.value_magnitude = std::max(result.value_magnitude, std::fabs(value));
    }
  }
  if (tokens.empty()) return result;
  for (double& element : result.output) element /= denominator;
  result.log_sum_exp = max + std::log(denominator);
  return result;
}

// Tokens of a range, one by one.
inline std::set<uint64_t> TokensOf(TokenRange range) {
  std::set<uint64_t> tokens;
  for (uint64_t token = range.begin; token < range.end; ++token) tokens.insert(token);
  return tokens;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_SEQUENCE_FIXTURE_H_
