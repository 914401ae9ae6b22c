#include "index/kernels/code_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "index/kernels/bf16.h"
#include "index/kernels/softmax.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Random codes; any bytes are codes.
struct Codes {
  Codes(size_t head_dim, size_t group_count, uint32_t seed) {
    std::mt19937 random(seed);
    high = hwy::AllocateAligned<std::byte>((group_count + 1) * HighBytes(head_dim));
    low = hwy::AllocateAligned<std::byte>((group_count + 1) * 64 * LowRowBytes(head_dim));
    for (size_t i = 0; i < group_count * HighBytes(head_dim); ++i) high[i] = Byte(random);
    for (size_t i = 0; i < group_count * 64 * LowRowBytes(head_dim); ++i) low[i] = Byte(random);
    numbers.resize(4 * group_count * 64);
    for (uint16_t& number : numbers) {
      number = RoundUpToBF16(0.01F + static_cast<float>(random() % 1000) / 1000);
    }
    const size_t tokens = group_count * 64;
    view = {head_dim,
            group_count,
            high.get(),
            low.get(),
            numbers.data(),
            numbers.data() + tokens,
            numbers.data() + 2 * tokens,
            numbers.data() + 3 * tokens};
  }
  static std::byte Byte(std::mt19937& random) { return static_cast<std::byte>(random() % 256); }

  hwy::AlignedFreeUniquePtr<std::byte[]> high;
  hwy::AlignedFreeUniquePtr<std::byte[]> low;
  std::vector<uint16_t> numbers;
  KeyCodes view;
};

struct Scores {
  Scores(size_t query_count, size_t token_count)
      : stride(token_count + 3),
        values(query_count * stride, 77.0F),
        view(values.data(), query_count, token_count, stride),
        expected(query_count * token_count),
        expected_view(expected.data(), query_count, token_count) {}

  void ExpectNear(const std::vector<double>& tolerances) const {
    for (size_t q = 0; q < view.rows(); ++q) {
      for (size_t j = 0; j < view.cols(); ++j) {
        ASSERT_NEAR(view.row(q)[j], expected_view.row(q)[j], tolerances[q])
            << "query " << q << ", token " << j;
      }
      for (size_t j = view.cols(); j < stride; ++j) ASSERT_EQ(values[q * stride + j], 77.0F);
    }
  }

  size_t stride;
  std::vector<float> values;
  MatrixView<float> view;
  std::vector<double> expected;
  MatrixView<double> expected_view;
};

class CodeScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(CodeScoresTest);

void ExpectFineEqualsReference(size_t head_dim, size_t group_count, size_t query_count) {
  SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", " << group_count << " groups, "
                                  << query_count << " queries");
  const Codes codes(head_dim, group_count, /*seed=*/1);
  const std::vector<float> rotated = RandomFloats(query_count * head_dim, 1.0F, 2);
  const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 3);
  const CodeQueries queries({rotated.data(), query_count, head_dim}, centre_scores);
  Scores scores(query_count, codes.view.token_count());

  FineScores(queries, codes.view, scores.view);

  FineScoresReference(queries, codes.view, scores.expected_view);
  std::vector<double> tolerances;
  for (size_t q = 0; q < query_count; ++q) {
    // Sums are exact; the result rounds a few times. Scales are at most 1.01.
    double magnitude = std::fabs(double{centre_scores[q]});
    for (size_t e = 0; e < head_dim; ++e) magnitude += 8 * std::fabs(rotated[q * head_dim + e]);
    tolerances.push_back(magnitude * 0x1p-22);
  }
  scores.ExpectNear(tolerances);
}

TEST_P(CodeScoresTest, FineScoresEqualTheReferenceAtEveryHeadDim) {
  for (size_t head_dim = 8; head_dim <= 264; head_dim += 8) {
    ExpectFineEqualsReference(head_dim, 2, 4);
  }
}

TEST_P(CodeScoresTest, FineScoresEqualTheReferenceAtEveryQueryCount) {
  for (size_t query_count = 0; query_count <= 10; ++query_count) {
    ExpectFineEqualsReference(64, 3, query_count);
    ExpectFineEqualsReference(128, 1, query_count);
  }
  ExpectFineEqualsReference(128, 0, 4);
}

// The tables' rounding: half a step per entry at most.
void ExpectCoarseIsNearReference(size_t head_dim, size_t group_count, size_t query_count) {
  SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", " << group_count << " groups, "
                                  << query_count << " queries");
  const Codes codes(head_dim, group_count, /*seed=*/4);
  const std::vector<float> rotated = RandomFloats(query_count * head_dim, 1.0F, 5);
  const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 6);
  const MatrixView<const float> rows(rotated.data(), query_count, head_dim);
  const CodeQueries queries(rows, centre_scores);
  Scores scores(query_count, codes.view.token_count());

  CoarseScores(queries, codes.view, scores.view);

  CoarseScoresReference(queries, rows, codes.view, scores.expected_view);
  std::vector<double> tolerances;
  double square_sum = 0;
  double variance_sum = 0;
  for (size_t q = 0; q < query_count; ++q) {
    const double tables = 4 * static_cast<double>(queries.triple_count());
    tolerances.push_back(1.02 * tables * double{queries[q].table_step} / 2);
    for (size_t j = 0; j < scores.view.cols(); ++j) {
      const double scale = double{BF16ToFloat(codes.view.coarse_scale[j])};
      const double off = scores.view.row(q)[j] - scores.expected_view.row(q)[j];
      square_sum += off * off / (scale * scale);
      variance_sum += queries[q].table_deviation * queries[q].table_deviation;
    }
  }
  scores.ExpectNear(tolerances);
  // The stated deviation is that of rounding, or more where tables have few elements.
  if (head_dim >= 64) {
    EXPECT_LT(square_sum, 1.6 * variance_sum + 1e-9);
  }
}

TEST_P(CodeScoresTest, CoarseScoresAreNearTheReferenceAtEveryHeadDim) {
  for (size_t head_dim = 8; head_dim <= 264; head_dim += 8) {
    ExpectCoarseIsNearReference(head_dim, 2, 4);
  }
}

TEST_P(CodeScoresTest, CoarseScoresAreNearTheReferenceAtEveryQueryCount) {
  for (size_t query_count = 0; query_count <= 10; ++query_count) {
    ExpectCoarseIsNearReference(64, 3, query_count);
    ExpectCoarseIsNearReference(128, 1, query_count);
  }
  ExpectCoarseIsNearReference(128, 0, 4);
}

TEST_P(CodeScoresTest, TheLargestHeadsDoNotOverflow) {
  for (const size_t head_dim : std::vector<size_t>{1024, 1888, 2048, 2056}) {
    ExpectFineEqualsReference(head_dim, 1, 1);
    ExpectCoarseIsNearReference(head_dim, 1, 1);
  }
}

TEST_P(CodeScoresTest, QueriesOfZerosAndOfTinyNumbersScoreTheirCentre) {
  const Codes codes(128, 1, /*seed=*/1);
  for (const float element : {0.0F, 1e-39F, -1e-38F}) {
    const std::vector<float> rotated(128, element);
    const std::vector<float> centre_scores = {3.0F};
    const CodeQueries queries({rotated.data(), 1, 128}, centre_scores);
    Scores scores(1, 64);

    FineScores(queries, codes.view, scores.view);
    for (const float score : scores.view.row(0)) EXPECT_NEAR(score, 3.0F, 1e-6);
    CoarseScores(queries, codes.view, scores.view);
    for (const float score : scores.view.row(0)) EXPECT_NEAR(score, 3.0F, 1e-6);
  }
}

TEST_P(CodeScoresTest, FilteringEqualsItsDefinitionAtEveryLength) {
  for (size_t count = 0; count <= 70; ++count) {
    const std::vector<float> scores = RandomFloats(count, 1.0F, 7);
    std::vector<uint16_t> scales(count);
    std::vector<uint16_t> errors(count);
    for (size_t i = 0; i < count; ++i) {
      scales[i] = RoundUpToBF16(static_cast<float>(i % 5));
      errors[i] = RoundUpToBF16(i % 11 == 3 ? kInfinity : static_cast<float>(i % 3));
    }
    const TokenBounds bounds = {scales, errors, {0.25F, 0.125F, 0.5F}};
    std::vector<uint32_t> expected;
    float top = -kInfinity;
    for (size_t i = 0; i < count; ++i) {
      // Powers of two: exact but for the last addition.
      const float bound = 0.25F * BF16ToFloat(errors[i]) + 0.125F * BF16ToFloat(scales[i]) + 0.5F;
      if (scores[i] + bound >= 1.5F) expected.push_back(static_cast<uint32_t>(i) + 1000);
      top = std::max(top, scores[i]);
    }
    std::vector<uint32_t> tokens(count + kFilterPadding);
    std::vector<float> upper(count + kFilterPadding);

    const FilteredScores filtered = FilterUpperBounds(scores, bounds, 1.5F, 1000, tokens, upper);

    tokens.resize(filtered.count);
    EXPECT_EQ(tokens, expected);
    EXPECT_EQ(filtered.top, top);
    for (size_t i = 0; i < filtered.count; ++i) EXPECT_GE(upper[i], 1.5F);
  }
}

}  // namespace
}  // namespace alaya
