#include "tests/support/quality.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace alaya {
namespace {

using testing::HasSubstr;

TEST(OutputErrorTest, IsRelativeToTheExactOutput) {
  EXPECT_NEAR(OutputError(std::vector<float>{3, 5}, std::vector<double>{3, 4}), 0.2, 1e-12);
  EXPECT_EQ(OutputError(std::vector<float>{0}, std::vector<double>{0}), 0);
  EXPECT_TRUE(std::isinf(OutputError(std::vector<float>{1}, std::vector<double>{0})));
}

TEST(RecallTest, CountsWhatWasExpected) {
  const std::vector<uint32_t> expected = {1, 4, 6, 8};

  EXPECT_EQ(Recall(expected, std::vector<uint32_t>{1, 2, 6}), 0.5);
  EXPECT_EQ(Recall({}, expected), 1);
  EXPECT_TRUE(AllIn(std::vector<uint32_t>{4, 8}, expected));
  EXPECT_FALSE(AllIn(std::vector<uint32_t>{4, 7}, expected));
}

TEST(PercentileTest, IsTheNearestRank) {
  EXPECT_EQ(Percentile({5, 1, 4, 2, 3}, 0.5), 3);
  EXPECT_EQ(Percentile({5, 1, 4, 2, 3}, 0.99), 5);
  EXPECT_EQ(Percentile({5, 1, 4, 2, 3}, 0), 1);
  EXPECT_EQ(Percentile({}, 0.5), 0);
}

TEST(QualityFiguresTest, SummarizeWhatWasMeasured) {
  const std::vector<QualitySample> samples = {
      {.recovery = 0.9, .output_error = 0.1, .dipr_recall = 1, .tokens_attended = 10},
      {.recovery = 0.5,
       .output_error = 0.3,
       .dipr_recall = 0.5,
       .all_valid = false,
       .tokens_attended = 30,
       .tokens_scored = 7}};

  const QualityFigures figures = Summarize(samples);

  EXPECT_EQ(figures.sample_count, 2U);
  EXPECT_NEAR(figures.recovery_mean, 0.7, 1e-12);
  EXPECT_EQ(figures.recovery_p10, 0.5);
  EXPECT_EQ(figures.recovery_min, 0.5);
  EXPECT_NEAR(figures.output_error_mean, 0.2, 1e-12);
  EXPECT_EQ(figures.output_error_p99, 0.3);
  EXPECT_EQ(figures.dipr_recall_mean, 0.75);
  EXPECT_EQ(figures.invalid_count, 1U);
  EXPECT_EQ(figures.tokens_attended_mean, 20);
  EXPECT_EQ(figures.tokens_scored_max, 7);
}

TEST(QualityFiguresTest, TableNamesEveryRow) {
  const std::vector<std::pair<std::string, QualityFigures>> rows = {{"full", {}}, {"dipr", {}}};

  const std::string table = FormatQualityTable(rows);

  EXPECT_THAT(table, HasSubstr("recovery"));
  EXPECT_THAT(table, HasSubstr("\nfull"));
  EXPECT_THAT(table, HasSubstr("\ndipr"));
}

}  // namespace
}  // namespace alaya
