// FineScores; declared in code_scores.h.

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "index/kernels/code_scores.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/kernels/random_codes.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

class FineScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(FineScoresTest);

void ExpectFineEqualsReference(const CodesShape& shape) {
  SCOPED_TRACE(testing::Message() << shape);
  const auto [head_dim, group_count, query_count] = shape;
  const RandomCodes codes(head_dim, group_count, /*seed=*/1);
  const std::vector<float> rotated = RandomFloats(query_count * head_dim, 1.0F, 2);
  const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 3);
  const CodeQueries queries({rotated.data(), query_count, head_dim}, centre_scores);
  ComparedScores scores(query_count, codes.view.token_count());

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

TEST_P(FineScoresTest, FineScoresEqualTheReferenceAtEveryHeadDim) {
  for (const CodesShape& shape : EveryHeadDim()) ExpectFineEqualsReference(shape);
}

TEST_P(FineScoresTest, FineScoresEqualTheReferenceAtEveryQueryCount) {
  for (const CodesShape& shape : EveryQueryCount()) ExpectFineEqualsReference(shape);
}

TEST_P(FineScoresTest, TheLargestHeadsDoNotOverflow) {
  for (const CodesShape& shape : LargestHeads()) ExpectFineEqualsReference(shape);
}

TEST_P(FineScoresTest, QueriesOfZerosAndOfTinyNumbersScoreTheirCentre) {
  ExpectCentreScores([](const CodeQueries& queries, const KeyCodes& keys,
                        MatrixView<float> scores) { FineScores(queries, keys, scores); });
}

}  // namespace
}  // namespace alaya
