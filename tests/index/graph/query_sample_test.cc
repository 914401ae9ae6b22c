#include "index/graph/query_sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

TEST(SampleRowsTest, AllRowsAreEachOnce) {
  for (const double near_end : {1.0 / 512, 1.0 / 32, 1.0}) {
    EXPECT_EQ(SampleRows(5, 5, near_end), (std::vector<size_t>{0, 1, 2, 3, 4}));
  }
}

TEST(SampleRowsTest, RowsAreDistinctAndRiseToTheLast) {
  for (const size_t count : {size_t{1}, size_t{7}, size_t{100}, size_t{999}}) {
    const std::vector<size_t> rows = SampleRows(1000, count, 1.0 / 32);

    ASSERT_EQ(rows.size(), count);
    EXPECT_EQ(rows.back(), 999);
    EXPECT_EQ(std::ranges::adjacent_find(rows, std::greater_equal()), rows.end());
  }
}

TEST(SampleRowsTest, HalfOfThemLieNearTheEnd) {
  const std::vector<size_t> far = SampleRows(100'000, 128, 1.0 / 32);
  const std::vector<size_t> near = SampleRows(100'000, 128, 1.0 / 512);

  EXPECT_GE(far[64], 100'000 * 6 / 7 - 1000);
  EXPECT_LE(far[0], 5'000);
  EXPECT_GE(near[64], 100'000 * 94 / 100);
  EXPECT_LE(near[0], 10'000);
}

TEST(SampleQueriesTest, TakesWholeRowsRoundedAsKeysAre) {
  const std::vector<float> queries = RandomFloats(40 * 16, 1.0F, /*seed=*/1);
  const std::vector<float> rounded = Encode(queries, 16, DType::kBF16).values;
  const std::vector<size_t> rows = SampleRows(40, 10, 1.0 / 32);

  const std::vector<float> plain = SampleQueries(Rows(queries, 16), 10, 1.0 / 32, DType::kF32);
  const std::vector<float> bf16 = SampleQueries(Rows(queries, 16), 10, 1.0 / 32, DType::kBF16);

  for (size_t i = 0; i < 10; ++i) {
    for (size_t e = 0; e < 16; ++e) {
      EXPECT_EQ(plain[i * 16 + e], queries[rows[i] * 16 + e]);
      EXPECT_EQ(bf16[i * 16 + e], rounded[rows[i] * 16 + e]);
    }
  }
}

}  // namespace
}  // namespace alaya
