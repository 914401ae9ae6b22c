#include "index/kernels/key_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

class KeyScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(KeyScoresTest);

// Compares with the reference; scores lie in rows longer than they need to be, and
// the room behind them must stay untouched.
void ExpectEqualsReference(size_t query_count, size_t key_count, size_t head_dim, DType dtype,
                           DType query_dtype = DType::kF32) {
  SCOPED_TRACE(testing::Message() << query_count << " queries, " << key_count << " keys, head_dim "
                                  << head_dim << ", " << Name(dtype));
  const std::vector<float> queries =
      Encode(RandomFloats(query_count * head_dim, 1.0F, /*seed=*/2), head_dim, query_dtype).values;
  const EncodedMatrix keys = Encode(RandomFloats(key_count * head_dim, 1.0F, 3), head_dim, dtype);
  const size_t stride = key_count + 5;
  std::vector<float> scores(query_count * stride, 77.0F);
  std::vector<double> expected(query_count * key_count);

  KeyScores({queries.data(), query_count, head_dim}, keys.view,
            {scores.data(), query_count, key_count, stride});

  KeyScoresReference({queries.data(), query_count, head_dim}, keys.view,
                     {expected.data(), query_count, key_count});
  for (size_t i = 0; i < query_count; ++i) {
    for (size_t j = 0; j < key_count; ++j) {
      double magnitude = 0;
      for (size_t e = 0; e < head_dim; ++e) {
        magnitude += std::fabs(double{queries[i * head_dim + e]} * keys.values[j * head_dim + e]);
      }
      // Every addition rounds at most by half an ulp of the sum of magnitudes.
      const double tolerance = static_cast<double>(head_dim) * 0x1p-24 * magnitude;
      ASSERT_NEAR(scores[i * stride + j], expected[i * key_count + j], tolerance);
    }
    for (size_t j = key_count; j < stride; ++j) ASSERT_EQ(scores[i * stride + j], 77.0F);
  }
}

TEST_P(KeyScoresTest, EqualsTheReferenceAtEveryHeadDim) {
  for (const DType dtype : kDTypes) {
    for (size_t head_dim = 8; head_dim <= 136; head_dim += 8) {
      ExpectEqualsReference(4, 9, head_dim, dtype);
    }
    ExpectEqualsReference(3, 5, 256, dtype);
    ExpectEqualsReference(5, 3, 1032, dtype);
  }
}

// Where the machine multiplies bf16 itself, such queries take a path of their own.
TEST_P(KeyScoresTest, EqualsTheReferenceForQueriesInBF16) {
  for (size_t head_dim = 8; head_dim <= 136; head_dim += 8) {
    for (size_t query_count = 1; query_count <= 5; ++query_count) {
      ExpectEqualsReference(query_count, 9, head_dim, DType::kBF16, DType::kBF16);
    }
  }
  ExpectEqualsReference(150, 6, 128, DType::kBF16, DType::kBF16);
}

TEST_P(KeyScoresTest, EqualsTheReferenceAtEveryKeyCount) {
  for (const DType dtype : kDTypes) {
    for (size_t key_count = 0; key_count <= 18; ++key_count) {
      ExpectEqualsReference(4, key_count, 64, dtype);
    }
  }
}

TEST_P(KeyScoresTest, EqualsTheReferenceAtEveryQueryCount) {
  for (const DType dtype : kDTypes) {
    for (size_t query_count = 0; query_count <= 18; ++query_count) {
      ExpectEqualsReference(query_count, 6, 96, dtype);
    }
    ExpectEqualsReference(/*query_count=*/150, 6, 128, dtype);  // several slabs
  }
}

TEST_P(KeyScoresTest, RowsThatLieAnywhereScoreAsBlocksDo) {
  for (const DType dtype : kDTypes) {
    for (const DType query_dtype : {DType::kF32, DType::kBF16}) {
      for (size_t row_count = 0; row_count <= 9; ++row_count) {
        const size_t head_dim = 56 + 8 * row_count;
        const EncodedMatrix keys = Encode(RandomFloats(40 * head_dim, 1.0F, 3), head_dim, dtype);
        const std::vector<float> queries =
            Encode(RandomFloats(5 * head_dim, 1.0F, 2), head_dim, query_dtype).values;
        const MatrixView<const float> query_rows(queries.data(), 5, head_dim);
        std::vector<float> all(5 * 40);
        KeyScores(query_rows, keys.view, {all.data(), 5, 40});
        std::vector<const std::byte*> rows;
        for (size_t i = 0; i < row_count; ++i) rows.push_back(keys.view.row(i * 27 % 40));
        std::vector<float> scores(5 * row_count);

        GatheredKeyScores(query_rows, dtype, rows, {scores.data(), 5, row_count});

        for (size_t q = 0; q < 5; ++q) {
          for (size_t i = 0; i < row_count; ++i) {
            ASSERT_EQ(scores[q * row_count + i], all[q * 40 + i * 27 % 40]);
          }
        }
      }
    }
  }
}

TEST_P(KeyScoresTest, SaturatesBeyondTheRangeOfFloat) {
  const float max = std::numeric_limits<float>::max();
  for (const size_t key_count : {size_t{1}, size_t{4}}) {
    const std::vector<float> query(64, max);
    std::vector<float> key_values(key_count * 64, max);
    for (size_t e = 0; e < 64; ++e) key_values[(key_count - 1) * 64 + e] = -max;
    const EncodedMatrix keys = Encode(key_values, 64, DType::kF32);
    std::vector<float> scores(key_count);

    KeyScores({query.data(), 1, 64}, keys.view, {scores.data(), 1, key_count});

    EXPECT_EQ(scores.back(), -max);
    EXPECT_EQ(scores.front(), key_count > 1 ? max : -max);
  }
}

TEST_P(KeyScoresTest, InfinityLessInfinityIsANumber) {
  const float max = std::numeric_limits<float>::max();
  const std::vector<float> query(64, max);
  std::vector<float> key_values(4 * 64, max);
  for (size_t e = 0; e < key_values.size(); e += 2) key_values[e] = -max;
  const EncodedMatrix keys = Encode(key_values, 64, DType::kF32);
  std::vector<float> scores(4);

  KeyScores({query.data(), 1, 64}, keys.view, {scores.data(), 1, 4});

  for (const float score : scores) EXPECT_TRUE(std::isfinite(score));
}

}  // namespace
}  // namespace alaya
