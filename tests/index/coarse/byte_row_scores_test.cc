#include "index/coarse/byte_row_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

class ByteRowScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(ByteRowScoresTest);

TEST_P(ByteRowScoresTest, EqualsTheReferenceAtEveryWidth) {
  std::mt19937 random(/*seed=*/1);
  for (size_t width = 16; width <= 272; width += 16) {
    const std::vector<float> weights = RandomFloats(width, 1.0F, /*seed=*/2);
    std::vector<uint8_t> storage(7 * width + 1);
    for (uint8_t& byte : storage) byte = static_cast<uint8_t>(random());
    const std::span<const uint8_t> rows = std::span(storage).subspan(1);  // at no alignment
    std::vector<float> scores(7);
    std::vector<double> expected(7);

    ByteRowScores(weights, rows, scores);

    ByteRowScoresReference(weights, rows, expected);
    double magnitude = 0;
    for (const float weight : weights) magnitude += 255 * std::fabs(double{weight});
    for (size_t i = 0; i < 7; ++i) {
      ASSERT_NEAR(scores[i], expected[i], static_cast<double>(width) * 0x1p-24 * magnitude);
    }
  }
}

TEST_P(ByteRowScoresTest, NoRowsGiveNoScores) {
  const std::vector<float> weights(16, 1.0F);

  ByteRowScores(weights, {}, {});
}

}  // namespace
}  // namespace alaya
