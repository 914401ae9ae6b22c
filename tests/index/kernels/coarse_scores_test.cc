// FilterCoarseScores; declared in code_scores.h. What filters find: code_scores_test.cc.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "index/kernels/code_scores.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/kernels/random_codes.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

class CoarseScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(CoarseScoresTest);

// The tables' rounding: half a step per entry at most.
void ExpectCoarseIsNearReference(const CodesShape& shape, const CoarseElements& coarse = {}) {
  SCOPED_TRACE(testing::Message() << shape << ", coarse elements: " << coarse.count);
  const auto [head_dim, group_count, query_count] = shape;
  const RandomCodes codes(head_dim, group_count, /*seed=*/4);
  const std::vector<float> rotated = RandomFloats(query_count * head_dim, 1.0F, 5);
  const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 6);
  const MatrixView<const float> rows(rotated.data(), query_count, head_dim);
  const CodeQueries queries(rows, centre_scores, coarse);
  ComparedScores scores(query_count, codes.view.token_count());

  AllCoarseScores(queries, codes.view, scores.view);

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

TEST_P(CoarseScoresTest, CoarseScoresAreNearTheReferenceAtEveryHeadDim) {
  for (const CodesShape& shape : EveryHeadDim()) ExpectCoarseIsNearReference(shape);
}

TEST_P(CoarseScoresTest, CoarseScoresAreNearTheReferenceAtEveryQueryCount) {
  for (const CodesShape& shape : EveryQueryCount()) ExpectCoarseIsNearReference(shape);
}

TEST_P(CoarseScoresTest, ScoresOfTheFirstElementsAloneAreNearTheReference) {
  for (const CodesShape& shape : EveryHeadDim()) {
    for (const size_t count : {size_t{4}, shape.head_dim / 8 * 4}) {
      ExpectCoarseIsNearReference(shape, {count, 0.5F, 0.3F});
    }
  }
}

TEST_P(CoarseScoresTest, TheLargestHeadsDoNotOverflow) {
  for (const CodesShape& shape : LargestHeads()) ExpectCoarseIsNearReference(shape);
}

TEST_P(CoarseScoresTest, QueriesOfZerosAndOfTinyNumbersScoreTheirCentre) {
  ExpectCentreScores(AllCoarseScores);
}

// Sums of weights by the scores that the scan gives each token.
TEST_P(CoarseScoresTest, WeightsAreThoseOfTheScoresAndErrors) {
  for (const CodesShape& shape : EveryQueryCount()) {
    SCOPED_TRACE(testing::Message() << shape);
    const auto [head_dim, group_count, query_count] = shape;
    if (group_count == 0) continue;
    const RandomCodes codes(head_dim, group_count, /*seed=*/4);
    const std::vector<float> rotated = RandomFloats(query_count * head_dim, 1.0F, 5);
    const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 6);
    const CodeQueries queries({rotated.data(), query_count, head_dim}, centre_scores);
    const size_t tokens = codes.view.token_count();
    std::vector<float> memory(query_count * tokens);
    const MatrixView<float> scores(memory.data(), query_count, tokens);
    AllCoarseScores(queries, codes.view, scores);
    std::vector<float> weights(query_count * group_count);
    std::vector<float> square_sums(weights.size());
    std::vector<CoarseWeighing> weighing;
    for (size_t q = 0; q < query_count; ++q) {
      weighing.push_back(
          {.scale = 0.25F,
           .top = *std::ranges::max_element(scores.row(q)),
           .error_nats = 0.75F,
           .weights = std::span(weights).subspan(q * group_count, group_count),
           .square_sums = std::span(square_sums).subspan(q * group_count, group_count)});
    }
    std::vector<uint64_t> marks(group_count);
    std::vector<ScoreFilter> filters(query_count);
    for (size_t q = 0; q < query_count; ++q) {
      // One that finds all, so that weights and filters are seen not to disturb each other.
      filters[q].bar = q == 0 ? -std::numeric_limits<float>::infinity() : 1e9F;
      filters[q].end = tokens;
      filters[q].marks = marks.data();
    }

    FilterCoarseScores(queries, codes.view, filters, {}, weighing);

    if (query_count > 0) {
      EXPECT_EQ(filters[0].count, tokens);
    }
    for (size_t q = 0; q < query_count; ++q) {
      for (size_t g = 0; g < group_count; ++g) {
        double sum = 0;
        double square_sum = 0;
        for (size_t t = g * 64; t < (g + 1) * 64; ++t) {
          const double error = double{BF16ToFloat(codes.view.coarse_error[t])};
          const double above = double{scores.row(q)[t]} - double{weighing[q].top};
          const double weight = std::exp(0.25 * above - 0.75 * error * error);
          sum += weight;
          square_sum += weight * weight;
        }
        EXPECT_NEAR(weighing[q].weights[g], sum, 0.045 * sum) << q << ", " << g;
        EXPECT_NEAR(weighing[q].square_sums[g], square_sum, 0.09 * square_sum);
      }
    }
  }
}

// Infinite errors, scores far above and far below.
TEST_P(CoarseScoresTest, WeightsOfAnythingAreNumbers) {
  RandomCodes codes(64, 2, /*seed=*/4);
  codes.numbers[128 + 3] = 0x7F80;
  const std::vector<float> rotated = RandomFloats(64, 1.0F, 5);
  const CodeQueries queries({rotated.data(), 1, 64}, std::vector<float>{0});
  for (const float top : {-1e30F, -1000.0F, 0.0F, 1000.0F, 1e30F}) {
    for (const float error_nats : {0.0F, 1.0F}) {
      std::vector<float> weights(2, -1);
      std::vector<float> square_sums(2, -1);
      const CoarseWeighing weighing = {1, top, error_nats, weights, square_sums};
      std::vector<uint64_t> marks(2);
      ScoreFilter filter;
      filter.bar = 1e9F;
      filter.marks = marks.data();

      FilterCoarseScores(queries, codes.view, std::span(&filter, 1), {}, std::span(&weighing, 1));

      for (size_t g = 0; g < 2; ++g) {
        EXPECT_GE(weights[g], 0) << top;
        EXPECT_GE(square_sums[g], 0) << top;
        if (top < -500) {
          EXPECT_GT(square_sums[g], 1e30F) << top;
        }
        if (top > 500) {
          EXPECT_EQ(square_sums[g], 0) << top;
        }
      }
    }
  }
}

}  // namespace
}  // namespace alaya
