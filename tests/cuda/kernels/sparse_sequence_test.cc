#include "cuda/kernels/sparse_sequence.cuh"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/cuda/kernels/sparse_fixture.h"
#include "tests/support/attention_workload.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr float kLogAlpha = -4.4228486F;  // ln(0.012)

class SparseSequenceTest : public testing::TestWithParam<SparseCase> {
 protected:
  const SparseCase& at() const { return GetParam(); }
  SparseOptions Options(float deviations, float rest_error) const {
    return {at().scale(), kLogAlpha, deviations, rest_error};
  }
  SparseAnswer Answer(const SparseOptions& options) const {
    return AnswerOnHost({head_->task()}, at().head_dim, at().Queries(), options);
  }

  const std::unique_ptr<TestHead> head_ = GetParam().Head();
};

TEST_P(SparseSequenceTest, ApproximateLogitsAreThoseOfTheCodesAndWithinTheirBounds) {
  const SparseAnswer run = Answer(Options(/*deviations=*/0, 0));

  for (uint32_t q = 0; q < at().query_count; ++q) {
    const QueryCodes& state = run.states[q];
    const std::vector<double> scores = ExactScores(run.query(q), head_->key_matrix());
    for (uint32_t token = 0; token < at().token_count; ++token) {
      const int32_t units = run.approximation(q, token);
      if (token < head_->sink || token >= at().token_count - head_->recent) {
        ASSERT_EQ(units, kUnitsOutside);
        continue;
      }
      double sum = 0;
      for (uint32_t e = 0; e < at().head_dim; ++e) {
        const auto code = static_cast<int8_t>(state.words[e / 4] >> (e % 4 * 8));
        sum += (head_->index.code(token, e) - 3.5) * code;
      }
      const double by_codes = 2 * double{state.level_factor} * head_->index.scale(token) * sum;
      const double logit = double{LogitOfUnits(units)};
      ASSERT_NEAR(logit, by_codes, 0.51 / 64 + 1e-4) << "token " << token;

      const float bound = state.bars.Bound(static_cast<float>(head_->index.error(token)),
                                           static_cast<float>(head_->index.scale(token)));
      ASSERT_NEAR(logit + double{state.bars.centre_logit}, double{at().scale()} * scores[token],
                  double{bound})
          << "token " << token;
    }
  }
}

TEST_P(SparseSequenceTest, SoundSearchAttendsToEveryTokenThatReachesTheBarAndNoOther) {
  const SparseOptions options = Options(/*deviations=*/0, /*rest_error=*/0);

  ExpectAttentionToAllAboveTheBar(*head_, Answer(options), options);
}

TEST_P(SparseSequenceTest, TheBarIsThatOfTheBestTokenOrALittleLower) {
  const SparseAnswer run = Answer(Options(/*deviations=*/3, 0));

  for (uint32_t q = 0; q < at().query_count; ++q) {
    const ExpectedAttention expected(*head_, run.query(q), double{at().scale()}, -1e30);
    if (head_->task().token_begin >= head_->task().token_end) continue;
    const double missed = expected.best_logit - double{run.states[q].bars.best_logit};
    EXPECT_GE(missed, -1e-3);
    // The token that looks best may be another one, by the errors of both.
    EXPECT_LT(missed, 6 * 0.186 * double{at().logit_deviation});
  }
}

TEST_P(SparseSequenceTest, DoesNotDependOnTheOrderOfLoops) {
  const SparseAnswer forward = Answer(Options(3, 0.01F));
  const BackwardLoops loops;
  const SparseAnswer backward = Answer(Options(3, 0.01F));

  EXPECT_EQ(forward.tokens_attended, backward.tokens_attended);
  EXPECT_EQ(forward.rows_scored, backward.rows_scored);
  for (size_t i = 0; i < forward.outputs.size(); ++i) {
    ASSERT_NEAR(forward.outputs[i], backward.outputs[i], 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SparseSequenceTest, testing::ValuesIn(SparseCases()),
                         [](const auto& each) { return each.param.name; });

TEST(SparseBatchTest, EachTaskIsAnsweredAsIfItWereAlone) {
  constexpr uint32_t kHeadDim = 64;
  const SparseOptions options = {0.125F, kLogAlpha, 3, 0.01F};
  std::vector<std::unique_ptr<TestHead>> heads;
  std::vector<SparseTask> tasks;
  for (const uint32_t token_count : {2100U, 300U, 1024U}) {
    heads.push_back(RandomHead(DType::kBF16, kHeadDim, token_count, 40, token_count));
    tasks.push_back(heads.back()->task());
  }
  tasks[1].head.token_count = 0;  // a short context: windows alone
  const std::vector<float> queries = NormalFloats(3 * 2 * kHeadDim, 3, 5);

  const SparseAnswer together = AnswerOnHost(tasks, kHeadDim, queries, options);

  for (size_t task = 0; task < tasks.size(); ++task) {
    const auto begin = queries.begin() + static_cast<std::ptrdiff_t>(task * 2 * kHeadDim);
    const SparseAnswer alone =
        AnswerOnHost({tasks[task]}, kHeadDim, {begin, begin + 2 * kHeadDim}, options);
    EXPECT_EQ(together.rows_scored[task], alone.rows_scored[0]);
    for (size_t q = 0; q < 2; ++q) {
      EXPECT_EQ(together.tokens_attended[2 * task + q], alone.tokens_attended[q]);
      for (uint32_t e = 0; e < kHeadDim; ++e) {
        ASSERT_FLOAT_EQ(together.output(2 * task + q)[e], alone.output(q)[e]);
      }
    }
  }
}

TEST(SparseBatchTest, ATaskWithoutTokensHasNoAttention) {
  const SparseAnswer run = AnswerOnHost({SparseTask()}, 128, NormalFloats(128, 1, 1), {});

  for (const float element : run.outputs) EXPECT_EQ(element, 0.0F);
  EXPECT_EQ(run.log_sum_exps[0], -std::numeric_limits<float>::infinity());
}

TEST(SparseBatchTest, TokensWithoutCodesAreAlwaysAttended) {
  constexpr uint32_t kHeadDim = 64;
  std::vector<float> keys = NormalFloats(500 * kHeadDim, 1, 1);
  for (uint32_t e = 0; e < kHeadDim; ++e) keys[200 * kHeadDim + e] = e % 2 == 0 ? 1e19F : -1e19F;
  TestHead head(DType::kF32, kHeadDim, keys, NormalFloats(500 * kHeadDim, 1, 2), 10);
  const std::vector<float> queries(kHeadDim, 0.5F);

  const SparseAnswer run =
      AnswerOnHost({head.task()}, kHeadDim, queries, {0.125F, -0.01F, 3, 0.01F});

  EXPECT_GE(run.rows_scored[0], 1U);
  for (const float element : run.outputs) EXPECT_TRUE(std::isfinite(element));
}

// Heads as they are in trained models, 16K tokens.
class SparseQualityTest : public testing::Test {
 protected:
  static constexpr uint32_t kTokens = 16 * 1024;

  struct Figures {
    double output_error = 0;
    double attended = 0;
    double scored = 0;
  };
  static Figures Measure(const SparseOptions& options) {
    WorkloadOptions workload_options;
    workload_options.model = StandardModel(4);
    workload_options.token_count = kTokens;
    const AttentionWorkload workload(workload_options);
    std::vector<double> errors;
    Figures figures;
    for (uint32_t kv_head = 0; kv_head < 4; ++kv_head) {
      const TokenRange all = {0, kTokens};
      TestHead head(DType::kBF16, 128, workload.HeadKeys(3, kv_head, all),
                    workload.HeadValues(3, kv_head, all), 64);
      // So far behind that the window does not hold most of the mass.
      const std::vector<float> queries = workload.Queries(3, kTokens + 1001);
      const auto begin = queries.begin() + kv_head * 4 * 128;
      const SparseAnswer run = AnswerOnHost({head.task()}, 128, {begin, begin + 4 * 128}, options);
      for (size_t q = 0; q < 4; ++q) {
        const ExpectedAttention expected(head, run.query(q), double{options.scale}, 1e30);
        errors.push_back(OutputError(run.output(q), expected.full.output));
        figures.attended += run.tokens_attended[q] / 16.0;
      }
      figures.scored += run.rows_scored[0] / 4.0;
    }
    figures.output_error = Mean(errors);
    return figures;
  }
};

TEST_F(SparseQualityTest, TheEstimateOfTheRestBringsTheErrorBelowTwoPercent) {
  SparseOptions options = {1 / std::sqrt(128.0F), kLogAlpha, 3, 0};
  const Figures critical = Measure(options);
  options.rest_error = 0.01F;
  const Figures estimated = Measure(options);

  EXPECT_LT(estimated.output_error, 0.02);
  EXPECT_LT(estimated.output_error, critical.output_error / 3);
  EXPECT_LT(estimated.attended, kTokens / 10.0);
  RecordProperty("error", std::to_string(estimated.output_error));
  RecordProperty("attended", std::to_string(estimated.attended));
  RecordProperty("scored", std::to_string(estimated.scored));
}

TEST_F(SparseQualityTest, StatisticalSearchMissesNextToNothing) {
  SparseOptions options = {1 / std::sqrt(128.0F), kLogAlpha, 0, 0};
  const Figures sound = Measure(options);
  options.deviations = 3;
  const Figures statistical = Measure(options);

  EXPECT_GE(statistical.attended, 0.999 * sound.attended);
  EXPECT_LE(statistical.scored, sound.scored / 2);
}

}  // namespace
}  // namespace alaya
