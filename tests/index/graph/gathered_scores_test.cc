#include "index/graph/gathered_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

class GatheredScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(GatheredScoresTest);

// Rows out of order, one of them twice.
std::vector<const std::byte*> SomeRows(EncodedMatrixView keys) {
  std::vector<const std::byte*> rows;
  for (size_t i = 0; i < keys.rows; ++i) rows.push_back(keys.row((i * 5 + 3) % keys.rows));
  rows.push_back(keys.row(0));
  return rows;
}

void ExpectEqualsReference(size_t head_dim, DType dtype, DType query_dtype) {
  SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", " << Name(dtype) << ", queries "
                                  << Name(query_dtype));
  const std::vector<float> query =
      Encode(RandomFloats(head_dim, 1.0F, /*seed=*/1), head_dim, query_dtype).values;
  const EncodedMatrix keys = Encode(RandomFloats(7 * head_dim, 1.0F, /*seed=*/2), head_dim, dtype);
  const std::vector<const std::byte*> rows = SomeRows(keys.view);
  std::vector<float> scores(rows.size());
  std::vector<double> expected(rows.size());

  GatheredScores(query, dtype, rows, scores);

  GatheredScoresReference(query, dtype, rows, expected);
  // Every addition rounds at most by half an ulp of the sum of magnitudes.
  double magnitude = 0;
  for (const float element : query) magnitude += std::fabs(double{element}) * 5;
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_NEAR(scores[i], expected[i], static_cast<double>(head_dim) * 0x1p-24 * magnitude);
  }
}

TEST_P(GatheredScoresTest, EqualsTheReferenceAtEveryHeadDim) {
  for (const DType dtype : kDTypes) {
    for (const DType query_dtype : {DType::kF32, DType::kBF16}) {
      for (size_t head_dim = 8; head_dim <= 136; head_dim += 8) {
        ExpectEqualsReference(head_dim, dtype, query_dtype);
      }
      ExpectEqualsReference(1032, dtype, query_dtype);
    }
  }
}

TEST_P(GatheredScoresTest, NoRowsGiveNoScores) {
  const std::vector<float> query(16, 1.0F);

  GatheredScores(query, DType::kBF16, {}, {});
}

TEST_P(GatheredScoresTest, HugeElementsGiveFiniteScores) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const std::vector<float> query = {kMax, kMax, -kMax, 1, 0, 0, 0, 0};
  const EncodedMatrix keys = Encode({kMax, kMax, 0,    0, 0, 0, 0, 0,  //
                                     0,    0,    kMax, 0, 0, 0, 0, 0,  //
                                     kMax, 0,    kMax, 0, 0, 0, 0, 0},
                                    8, DType::kF32);
  const std::vector<const std::byte*> rows = {keys.view.row(0), keys.view.row(1), keys.view.row(2)};
  std::vector<float> scores(3);

  GatheredScores(query, DType::kF32, rows, scores);

  EXPECT_EQ(scores[0], kMax);
  EXPECT_EQ(scores[1], -kMax);
  EXPECT_TRUE(std::isfinite(scores[2]));
}

}  // namespace
}  // namespace alaya
