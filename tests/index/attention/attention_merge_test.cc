#include "index/attention/attention_merge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/sequence_fixture.h"

namespace alaya {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();

struct OneQuery {
  explicit OneQuery(size_t head_dim) : output(head_dim, 0.0F) {}
  explicit OneQuery(const OracleAttention& attention)
      : output(attention.output.begin(), attention.output.end()),
        log_sum_exp{static_cast<float>(attention.log_sum_exp)} {}
  AttentionPart view() { return {{output.data(), 1, output.size()}, log_sum_exp}; }

  std::vector<float> output;
  std::vector<float> log_sum_exp = {kEmpty};
};

struct SplitCase {
  const char* name;
  uint64_t count_first;
  uint64_t count_second;
  float key_deviation;
};
void PrintTo(const SplitCase& c, std::ostream* out) { *out << c.name; }

class AttentionMergeTest : public testing::TestWithParam<SplitCase> {};

TEST_P(AttentionMergeTest, EqualsAttentionOverTheUnion) {
  const SplitCase& c = GetParam();
  SequenceShape shape;
  shape.part_tokens = {c.count_first + c.count_second};
  shape.dtype = DType::kF32;
  shape.key_deviation = c.key_deviation;
  const TestSequence sequence(shape, /*seed=*/7);
  const std::vector<float> query = RandomFloats(shape.head_dim, 1.0F, /*seed=*/8);
  const uint64_t all = c.count_first + c.count_second;
  OneQuery total(AttendByDefinition(sequence, query, TokensOf({0, c.count_first}), 0.125));
  OneQuery second(AttendByDefinition(sequence, query, TokensOf({c.count_first, all}), 0.125));

  MergeAttention({second.view().output, second.log_sum_exp}, total.view());

  const OracleAttention expected = AttendByDefinition(sequence, query, TokensOf({0, all}), 0.125);
  // Weights follow from two rounded log_sum_exp.
  const double tolerance = 1e-6 + 3e-7 * std::fabs(expected.log_sum_exp);
  EXPECT_NEAR(total.log_sum_exp[0], expected.log_sum_exp, tolerance);
  for (size_t e = 0; e < shape.head_dim; ++e) {
    EXPECT_NEAR(total.output[e], expected.output[e], tolerance * expected.value_magnitude);
  }
}

INSTANTIATE_TEST_SUITE_P(Splits, AttentionMergeTest,
                         testing::Values(SplitCase{"Even", 64, 64, 1.0F},
                                         SplitCase{"OneTokenWindow", 1, 500, 1.0F},
                                         SplitCase{"FirstEmpty", 0, 16, 1.0F},
                                         SplitCase{"SecondEmpty", 16, 0, 1.0F},
                                         SplitCase{"ExpWouldOverflow", 32, 32, 3000.0F}),
                         [](const auto& split) { return split.param.name; });

TEST(AttentionMergeEmptyTest, TwoEmptyPartsStayEmpty) {
  OneQuery first(8);
  OneQuery second(8);

  MergeAttention({second.view().output, second.log_sum_exp}, first.view());

  EXPECT_EQ(first.log_sum_exp[0], kEmpty);
  for (const float element : first.output) EXPECT_EQ(element, 0.0F);
}

TEST(MergeLogSumExpTest, AddsMasses) {
  EXPECT_NEAR(MergeLogSumExp(std::log(3.0), std::log(5.0)), std::log(8.0), 1e-15);
  EXPECT_EQ(MergeLogSumExp(1000.0, -1000.0), 1000.0);
  EXPECT_EQ(MergeLogSumExp(kEmpty, 2.0), 2.0);
  EXPECT_EQ(MergeLogSumExp(kEmpty, kEmpty), kEmpty);
}

}  // namespace
}  // namespace alaya
