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

TEST_P(FineScoresTest, ListedGroupsHaveTheScoresAndMarksOfAScanOfAll) {
  for (const size_t query_count : {1U, 3U, 4U, 6U}) {
    constexpr size_t kGroups = 9;
    constexpr size_t kHeadDim = 72;
    const RandomCodes codes(kHeadDim, kGroups, /*seed=*/1);
    const std::vector<float> rotated = RandomFloats(query_count * kHeadDim, 1.0F, 2);
    const std::vector<float> centre_scores = RandomFloats(query_count, 10.0F, 3);
    const CodeQueries queries({rotated.data(), query_count, kHeadDim}, centre_scores);
    const std::vector<uint32_t> groups = {0, 3, 4, 8};
    std::vector<float> all(query_count * kGroups * 64);
    std::vector<float> listed(query_count * groups.size() * 64);
    const MatrixView<float> all_scores(all.data(), query_count, kGroups * 64);
    const MatrixView<float> listed_scores(listed.data(), query_count, groups.size() * 64);
    std::vector<uint64_t> all_marks(kGroups);
    std::vector<uint64_t> listed_marks(kGroups);
    std::vector<ScoreFilter> filters(query_count);
    for (ScoreFilter& filter : filters) {
      filter.factors = {0.25F, 0.125F, 0.5F};
      filter.bar = 2;
      filter.begin = 17;
      filter.end = kGroups * 64 - 9;
    }
    std::vector<ScoreFilter> listed_filters = filters;
    for (ScoreFilter& filter : filters) filter.marks = all_marks.data();
    for (ScoreFilter& filter : listed_filters) filter.marks = listed_marks.data();
    const std::vector<uint32_t> next_groups = {1, 2};
    const std::vector<ListedCodes> upcoming = {{codes.view, next_groups}};

    FineScores(queries, codes.view, all_scores, filters);
    ListedFineScores(queries, {codes.view, groups}, listed_scores, listed_filters, upcoming);

    for (size_t i = 0; i < groups.size(); ++i) {
      EXPECT_EQ(listed_marks[groups[i]], all_marks[groups[i]]);
      for (size_t q = 0; q < query_count; ++q) {
        for (size_t t = 0; t < 64; ++t) {
          ASSERT_EQ(listed_scores.row(q)[i * 64 + t], all_scores.row(q)[groups[i] * 64 + t]);
        }
      }
    }
    EXPECT_EQ(listed_marks[1], 0U);
  }
}

}  // namespace
}  // namespace alaya
