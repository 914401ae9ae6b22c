#include "index/kernels/code_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "index/kernels/bf16.h"
#include "index/kernels/softmax.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class CodeScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(CodeScoresTest);

TEST_P(CodeScoresTest, FilteringEqualsItsDefinitionAtEveryLength) {
  for (size_t count = 0; count <= 70; ++count) {
    const std::vector<float> scores = RandomFloats(count, 1.0F, 7);
    std::vector<uint16_t> scales(count);
    std::vector<uint16_t> errors(count);
    for (size_t i = 0; i < count; ++i) {
      scales[i] = RoundUpToBF16(static_cast<float>(i % 5));
      errors[i] = RoundUpToBF16(i % 11 == 3 ? kInfinity : static_cast<float>(i % 3));
    }
    const TokenBounds bounds = {scales, errors, {0.25F, 0.125F, 0.5F}};
    std::vector<uint32_t> expected;
    float top = -kInfinity;
    for (size_t i = 0; i < count; ++i) {
      // Powers of two: exact but for the last addition.
      const float bound = 0.25F * BF16ToFloat(errors[i]) + 0.125F * BF16ToFloat(scales[i]) + 0.5F;
      if (scores[i] + bound >= 1.5F) expected.push_back(static_cast<uint32_t>(i) + 1000);
      top = std::max(top, scores[i]);
    }
    std::vector<uint32_t> tokens(count + kFilterPadding);
    std::vector<float> upper(count + kFilterPadding);

    const FilteredScores filtered = FilterUpperBounds(scores, bounds, 1.5F, 1000, tokens, upper);

    tokens.resize(filtered.count);
    EXPECT_EQ(tokens, expected);
    EXPECT_EQ(filtered.top, top);
    for (size_t i = 0; i < filtered.count; ++i) EXPECT_GE(upper[i], 1.5F);
  }
}

}  // namespace
}  // namespace alaya
