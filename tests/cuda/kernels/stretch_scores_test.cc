#include "cuda/kernels/stretch_scores.cuh"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "index/coarse/byte_row_scores.h"
#include "tests/cuda/kernels/sparse_fixture.h"

namespace alaya {
namespace {

struct StretchCase {
  const char* name;
  uint32_t head_count;
  uint32_t query_count;
  uint32_t stretch_count;
  uint32_t row_bytes;
};

class StretchScoresTest : public testing::TestWithParam<StretchCase> {
 protected:
  const StretchCase& at() const { return GetParam(); }
  // Heads lie a row apart.
  size_t head_stride() const { return size_t{at().stretch_count + 1} * at().row_bytes; }

  std::vector<float> Score() {
    std::vector<float> sums(size_t{at().head_count} * at().query_count * at().stretch_count, NAN);
    StretchTask task;
    task.head_count = at().head_count;
    task.query_count = at().query_count;
    task.stretch_count = at().stretch_count;
    task.row_bytes = at().row_bytes;
    task.head_stride_bytes = head_stride();
    task.rows = rows_.as<std::byte>();
    task.weights = weights_.data();
    task.sums = sums.data();
    EXPECT_EQ(RunScoreStretches(task, HostLaunch()), 0);
    return sums;
  }
  void SetUp() override {
    std::mt19937 random(/*seed=*/1);
    for (size_t i = 0; i < at().head_count * head_stride(); ++i) {
      rows_.as<uint8_t>()[i] = static_cast<uint8_t>(random());
    }
  }

  PoisonedMemory rows_{GetParam().head_count * head_stride()};
  const std::vector<float> weights_ = NormalFloats(
      size_t{GetParam().head_count} * GetParam().query_count * GetParam().row_bytes, 1, 2);
};

TEST_P(StretchScoresTest, EqualsTheReference) {
  const std::vector<float> sums = Score();

  std::vector<double> expected(at().stretch_count);
  for (size_t place = 0; place < size_t{at().head_count} * at().query_count; ++place) {
    const auto weights = std::span(weights_).subspan(place * at().row_bytes, at().row_bytes);
    const uint8_t* rows = rows_.as<uint8_t>() + place / at().query_count * head_stride();
    ByteRowScoresReference(weights, {rows, size_t{at().stretch_count} * at().row_bytes}, expected);
    double magnitude = 0;
    for (const float weight : weights) magnitude += 255 * std::fabs(double{weight});
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(sums[place * at().stretch_count + i], expected[i],
                  at().row_bytes * 0x1p-24 * magnitude);
    }
  }
}

TEST_P(StretchScoresTest, DoesNotDependOnTheOrderOfLoops) {
  const std::vector<float> forward = Score();
  const BackwardLoops loops;

  EXPECT_EQ(Score(), forward);
}

INSTANTIATE_TEST_SUITE_P(Shapes, StretchScoresTest,
                         testing::Values(StretchCase{"Standard", 2, 4, 100, 256},
                                         StretchCase{"OneStretch", 1, 1, 1, 16},
                                         StretchCase{"WholeBlocks", 1, 8, 64, 128},
                                         StretchCase{"MoreQueriesThanOneLoad", 1, 19, 33, 64},
                                         StretchCase{"OddWidth", 3, 2, 31, 272},
                                         StretchCase{"Largest", 1, 8, 40, 512}),
                         [](const auto& each) { return each.param.name; });

TEST(StretchScoresNoneTest, NoStretchesAreNoBlocks) {
  StretchTask task;
  task.head_count = 1;
  task.query_count = 1;
  task.row_bytes = 16;

  EXPECT_EQ(RunScoreStretches(task, HostLaunch()), 0);
}

}  // namespace
}  // namespace alaya
