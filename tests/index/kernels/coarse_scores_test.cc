// FilterCoarseScores; declared in code_scores.h. What filters find: code_scores_test.cc.

#include <gtest/gtest.h>

#include <cmath>
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
void ExpectCoarseIsNearReference(const CodesShape& shape) {
  SCOPED_TRACE(testing::Message() << shape);
  const auto [head_dim, group_count, query_count] = shape;
  const RandomCodes codes(head_dim, group_count, /*seed=*/4);
  const std::vector<float> rotated = RandomFloats(query_count * head_dim, 1.0F, 5);
  const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 6);
  const MatrixView<const float> rows(rotated.data(), query_count, head_dim);
  const CodeQueries queries(rows, centre_scores);
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

TEST_P(CoarseScoresTest, TheLargestHeadsDoNotOverflow) {
  for (const CodesShape& shape : LargestHeads()) ExpectCoarseIsNearReference(shape);
}

TEST_P(CoarseScoresTest, QueriesOfZerosAndOfTinyNumbersScoreTheirCentre) {
  ExpectCentreScores(AllCoarseScores);
}

}  // namespace
}  // namespace alaya
