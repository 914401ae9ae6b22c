#include "tests/server/engine/test_sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "tests/support/element_codec.h"
#include "tests/support/exact_attention.h"
#include "tests/support/random_numbers.h"

namespace alaya {
namespace {

// Scores are sums in float, values too; outputs are rounded to the query's dtype.
double OutputTolerance(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 2e-5;
    case DType::kF16:
      return 1e-3;
    case DType::kBF16:
      return 6e-3;
  }
  return 0;
}

std::vector<uint32_t> Range(uint64_t begin, uint64_t end) {
  std::vector<uint32_t> tokens(end > begin ? end - begin : 0);
  std::iota(tokens.begin(), tokens.end(), static_cast<uint32_t>(begin));
  return tokens;
}

}  // namespace

TestSequence::TestSequence(Model model, uint64_t token_count, uint64_t seed, DType query_dtype)
    : model_(std::move(model)), query_dtype_(query_dtype) {
  const RandomStream random(seed);
  for (uint64_t i = 0; i < token_count; ++i) {
    tokens_.push_back(static_cast<TokenId>(random.Below(i, 50'000)));
  }
  for (uint64_t layer = 0; layer < model_.num_layers; ++layer) {
    keys_.push_back(MakeTensor(model_.num_kv_heads, model_.dtype, seed * 1000 + layer * 3));
    values_.push_back(MakeTensor(model_.num_kv_heads, model_.dtype, seed * 1000 + layer * 3 + 1));
    queries_.push_back(
        MakeTensor(model_.num_query_heads, query_dtype, seed * 1000 + layer * 3 + 2));
  }
}

TestSequence::Tensor TestSequence::MakeTensor(size_t heads, DType dtype, uint64_t seed) const {
  const RandomStream random(seed);
  Tensor tensor;
  tensor.values.resize(tokens_.size() * heads * model_.head_dim);
  for (size_t i = 0; i < tensor.values.size(); ++i) tensor.values[i] = 1.5F * random.Normal(i);
  RoundTo(dtype, tensor.values);
  tensor.bytes.resize(1 + tensor.values.size() * ElementBytes(dtype));
  Encode(tensor.values, dtype, std::span(tensor.bytes).subspan(1));
  return tensor;
}

TensorView TestSequence::View(const Tensor& tensor, TokenRange range, size_t heads, size_t dim,
                              DType dtype) {
  const size_t token_bytes = heads * dim * ElementBytes(dtype);
  return {
      dtype, range.size(), heads, dim,
      std::span(tensor.bytes).subspan(1 + range.begin * token_bytes, range.size() * token_bytes)};
}

std::vector<TokenId> TestSequence::tokens(uint64_t count) const {
  return {tokens_.begin(), tokens_.begin() + static_cast<ptrdiff_t>(count)};
}

TensorView TestSequence::key(LayerIndex layer, TokenRange range) const {
  return View(keys_[ToInt(layer)], range, model_.num_kv_heads, model_.head_dim, model_.dtype);
}
TensorView TestSequence::value(LayerIndex layer, TokenRange range) const {
  return View(values_[ToInt(layer)], range, model_.num_kv_heads, model_.head_dim, model_.dtype);
}
TensorView TestSequence::query(LayerIndex layer, TokenRange range) const {
  return View(queries_[ToInt(layer)], range, model_.num_query_heads, model_.head_dim, query_dtype_);
}

ImportChunk TestSequence::Chunk(LayerIndex layer, TokenRange range) const {
  return {layer, range.begin, key(layer, range), value(layer, range), {}};
}

void TestSequence::ExpectAttention(const AttendResult& result, const Expectation& expected) const {
  ASSERT_TRUE(result.status.ok()) << Message(result.status);
  const size_t dim = model_.head_dim;
  const size_t query_heads = model_.num_query_heads;
  ASSERT_EQ(result.tokens, expected.visible.size());
  ASSERT_EQ(result.heads, query_heads);
  ASSERT_EQ(result.dim, dim);
  ASSERT_EQ(result.dtype, query_dtype_);
  const std::vector<float> output = Decode(std::as_bytes(std::span(result.output)), query_dtype_);
  ASSERT_EQ(output.size(), result.tokens * query_heads * dim);
  ASSERT_EQ(result.log_sum_exp.size(), result.tokens * query_heads);

  const AttendOptions& options = expected.options;
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(dim)));
  // What the planner chooses where there is no index.
  const Target target = options.target.value_or(FullTarget());
  const double tolerance = OutputTolerance(query_dtype_);
  const size_t layer = ToInt(expected.layer);
  for (size_t position = 0; position < result.tokens; ++position) {
    const TokenRange visible = expected.visible[position];
    for (size_t head = 0; head < query_heads; ++head) {
      const size_t kv_head = head / model_.group_size();
      const size_t stride = model_.num_kv_heads * dim;
      const MatrixView<const float> keys(keys_[layer].values.data() + kv_head * dim, visible.end,
                                         dim, stride);
      const MatrixView<const float> values(values_[layer].values.data() + kv_head * dim,
                                           visible.end, dim, stride);
      const size_t query_row = (expected.first_query + position) * query_heads + head;
      const auto scores =
          ExactScores(std::span(queries_[layer].values).subspan(query_row * dim, dim), keys);
      std::vector<uint32_t> attended = Range(visible.begin, visible.end);
      if (!std::holds_alternative<FullTarget>(target)) {
        attended = UnionOf(UnionOf(CriticalTokens(scores, scale, visible, target),
                                   WindowTokens(visible, options.window)),
                           Range(std::max(visible.begin, expected.tail_begin), visible.end));
      }
      const ExactAttention exact = AttendTokens(scores, values, scale, attended);

      const size_t row = position * query_heads + head;
      if (attended.empty()) {
        EXPECT_EQ(result.log_sum_exp[row], -std::numeric_limits<float>::infinity());
      } else {
        EXPECT_NEAR(result.log_sum_exp[row], exact.log_sum_exp, 1e-4)
            << "position " << position << ", head " << head;
      }
      double error = 0;
      double norm = 0;
      for (size_t i = 0; i < dim; ++i) {
        error += std::pow(output[row * dim + i] - exact.output[i], 2);
        norm += std::pow(exact.output[i], 2);
      }
      EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm))
          << "position " << position << ", head " << head;
      if (options.explain && !result.stats.head_tokens_attended.empty()) {
        EXPECT_EQ(result.stats.head_tokens_attended[row], attended.size());
      }
    }
  }
}

std::vector<TokenRange> CausalVisible(uint64_t first, size_t count) {
  std::vector<TokenRange> visible;
  for (size_t i = 0; i < count; ++i) visible.push_back({0, first + i + 1});
  return visible;
}

std::vector<TokenRange> EqualVisible(TokenRange range, size_t count) {
  return std::vector<TokenRange>(count, range);
}

}  // namespace alaya
