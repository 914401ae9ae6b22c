#include "index/kernels/weighted_values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

class WeightedValuesTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(WeightedValuesTest);

std::vector<float> RandomWeights(size_t count) {
  std::vector<float> weights = RandomFloats(count, 1.0F, /*seed=*/4);
  for (float& weight : weights) weight = std::fabs(weight);
  return weights;
}

// The rounding of a sum of token_count products with these magnitudes.
double Tolerance(size_t token_count, double magnitude) {
  return static_cast<double>(token_count + 2) * 0x1p-24 * (magnitude + 1);
}

void ExpectEqualsReference(size_t query_count, size_t token_count, size_t head_dim, DType dtype) {
  SCOPED_TRACE(testing::Message() << query_count << " queries, " << token_count
                                  << " tokens, head_dim " << head_dim << ", " << Name(dtype));
  const size_t stride = token_count + 3;
  const std::vector<float> weights = RandomWeights(query_count * stride);
  const EncodedMatrix values =
      Encode(RandomFloats(token_count * head_dim, 1.0F, 5), head_dim, dtype);
  std::vector<float> sums(query_count * head_dim, 1.0F);
  std::vector<double> expected(query_count * head_dim, 1.0);
  const MatrixView<const float> weight_rows(weights.data(), query_count, token_count, stride);

  AddWeightedValues(weight_rows, values.view, {sums.data(), query_count, head_dim});

  AddWeightedValuesReference(weight_rows, values.view, {expected.data(), query_count, head_dim});
  for (size_t i = 0; i < query_count; ++i) {
    for (size_t e = 0; e < head_dim; ++e) {
      double magnitude = 0;
      for (size_t j = 0; j < token_count; ++j) {
        magnitude += std::fabs(double{weight_rows.row(i)[j]} * values.values[j * head_dim + e]);
      }
      ASSERT_NEAR(sums[i * head_dim + e], expected[i * head_dim + e],
                  Tolerance(token_count, magnitude));
    }
  }
}

// Every `step`-th row.
void ExpectGatheredEqualsReference(const EncodedMatrix& values, size_t step, size_t query_count) {
  const size_t head_dim = values.view.cols;
  std::vector<size_t> tokens;
  std::vector<const std::byte*> rows;
  for (size_t token = 0; token < values.view.rows; token += step) {
    tokens.push_back(token);
    rows.push_back(values.view.row(token));
  }
  const std::vector<float> weights = RandomWeights(query_count * rows.size());
  std::vector<float> sums(query_count * head_dim, 0.5F);

  AddGatheredValues({weights.data(), query_count, rows.size()}, values.view.dtype, rows,
                    {sums.data(), query_count, head_dim});

  for (size_t q = 0; q < query_count; ++q) {
    for (size_t e = 0; e < head_dim; ++e) {
      double expected = 0.5;
      double magnitude = 0;
      for (size_t j = 0; j < tokens.size(); ++j) {
        const double product =
            double{weights[q * rows.size() + j]} * values.values[tokens[j] * head_dim + e];
        expected += product;
        magnitude += std::fabs(product);
      }
      ASSERT_NEAR(sums[q * head_dim + e], expected, Tolerance(tokens.size(), magnitude));
    }
  }
}

TEST_P(WeightedValuesTest, EqualsTheReferenceAtEveryHeadDim) {
  for (const DType dtype : kDTypes) {
    for (size_t head_dim = 8; head_dim <= 136; head_dim += 8) {
      for (const size_t query_count : {size_t{1}, size_t{4}}) {
        ExpectEqualsReference(query_count, 9, head_dim, dtype);
      }
    }
    ExpectEqualsReference(4, 65, 256, dtype);
  }
}

TEST_P(WeightedValuesTest, EqualsTheReferenceAtEveryQueryCount) {
  for (const DType dtype : kDTypes) {
    for (size_t query_count = 0; query_count <= 10; ++query_count) {
      ExpectEqualsReference(query_count, 7, 96, dtype);
    }
  }
}

TEST_P(WeightedValuesTest, EqualsTheReferenceAroundTheTileOfTokens) {
  for (const DType dtype : kDTypes) {
    for (const size_t token_count : std::initializer_list<size_t>{0, 1, 2, 63, 64, 65, 128, 200}) {
      ExpectEqualsReference(4, token_count, 128, dtype);
    }
  }
}

TEST_P(WeightedValuesTest, GatheredRowsEqualTheReferenceOverThoseRows) {
  for (const DType dtype : kDTypes) {
    for (const size_t head_dim : std::initializer_list<size_t>{8, 64, 96, 104, 128, 256}) {
      const EncodedMatrix values = Encode(RandomFloats(300 * head_dim, 1.0F, 6), head_dim, dtype);
      for (const size_t step : std::initializer_list<size_t>{1, 2, 7, 299}) {
        for (const size_t query_count : std::initializer_list<size_t>{1, 4, 6}) {
          ExpectGatheredEqualsReference(values, step, query_count);
        }
      }
    }
  }
}

TEST_P(WeightedValuesTest, NoGatheredRowsChangeNothing) {
  const EncodedMatrix values = Encode(RandomFloats(8, 1.0F, 7), 8, DType::kBF16);
  std::vector<float> sum(8, 0.25F);

  AddGatheredValues({nullptr, 1, 0}, values.view.dtype, {}, {sum.data(), 1, 8});

  EXPECT_EQ(sum, std::vector<float>(8, 0.25F));
}

}  // namespace
}  // namespace alaya
