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

void ExpectFineEqualsReference(size_t head_dim, size_t group_count, size_t query_count) {
  SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", " << group_count << " groups, "
                                  << query_count << " queries");
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
  for (size_t head_dim = 8; head_dim <= 264; head_dim += 8) {
    ExpectFineEqualsReference(head_dim, 2, 4);
  }
}

TEST_P(FineScoresTest, FineScoresEqualTheReferenceAtEveryQueryCount) {
  for (size_t query_count = 0; query_count <= 10; ++query_count) {
    ExpectFineEqualsReference(64, 3, query_count);
    ExpectFineEqualsReference(128, 1, query_count);
  }
  ExpectFineEqualsReference(128, 0, 4);
}

TEST_P(FineScoresTest, TheLargestHeadsDoNotOverflow) {
  for (const size_t head_dim : std::vector<size_t>{1024, 1888, 2048, 2056}) {
    ExpectFineEqualsReference(head_dim, 1, 1);
  }
}

TEST_P(FineScoresTest, QueriesOfZerosAndOfTinyNumbersScoreTheirCentre) {
  const RandomCodes codes(128, 1, /*seed=*/1);
  for (const float element : {0.0F, 1e-39F, -1e-38F}) {
    const std::vector<float> rotated(128, element);
    const std::vector<float> centre_scores = {3.0F};
    const CodeQueries queries({rotated.data(), 1, 128}, centre_scores);
    ComparedScores scores(1, 64);

    FineScores(queries, codes.view, scores.view);

    for (const float score : scores.view.row(0)) EXPECT_NEAR(score, 3.0F, 1e-6);
  }
}

}  // namespace
}  // namespace alaya
