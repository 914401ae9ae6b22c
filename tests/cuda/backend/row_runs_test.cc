#include "cuda/backend/row_runs.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/cuda/backend/made_part.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {200, 1, 16, DType::kBF16};
constexpr uint32_t kRowBytes = 32;

TEST(GatherRowsTest, TakesEveryStepthRowAcrossBlocks) {
  const MadeRows rows(kShape, 1);
  for (const uint32_t step : {1U, 3U, 70U}) {
    const uint32_t count = (200 - 5 + step - 1) / step;
    std::vector<std::byte> out(size_t{count} * kRowBytes);

    ASSERT_TRUE(GatherRows(rows, KvKind::kValue, 5, step, count, kRowBytes, out.data()).ok());

    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(std::memcmp(out.data() + size_t{i} * kRowBytes,
                            rows.row(KvKind::kValue, 5 + size_t{i} * step), kRowBytes),
                0)
          << "row " << i << ", step " << step;
    }
  }
}

TEST(GatherRowsTest, AnErrorOfTheReaderPassesThrough) {
  MadeRows rows(kShape, 1);
  rows.Damage();
  std::vector<std::byte> out(kRowBytes);

  EXPECT_EQ(GatherRows(rows, KvKind::kKey, 0, 1, 1, kRowBytes, out.data()).code(),
            StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
