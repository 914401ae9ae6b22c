#include "client/cli/attention_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/tensor.h"

namespace alaya::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(AttentionReportTest, EnumeratorsLoseTheirPrefix) {
  EXPECT_EQ(TierText(pb::TIER_DISK), "disk");
  EXPECT_EQ(IndexKindText(pb::INDEX_KIND_FLAT), "flat");
}

TEST(AttentionReportTest, StatsShowPlansOnlyWhereThereAreSome) {
  pb::AttendStats stats;
  stats.set_tokens_scored(12345);
  EXPECT_THAT(StatsText(stats), AllOf(HasSubstr("12,345"), Not(HasSubstr("PLAN"))));

  pb::SegmentPlan& plan = *stats.add_plans();
  plan.set_token_begin(100);
  plan.set_token_count(50);
  plan.set_index(pb::INDEX_KIND_EXACT);
  plan.set_tier(pb::TIER_MEMORY);
  plan.set_reason("short");
  stats.add_rejected_plans()->set_reason("costly");
  stats.add_head_tokens_attended(10);
  stats.add_head_tokens_attended(30);

  EXPECT_THAT(StatsText(stats), AllOf(HasSubstr("100:150"), HasSubstr("chosen"), HasSubstr("short"),
                                      HasSubstr("rejected"), HasSubstr("costly"),
                                      HasSubstr("mean 20, min 10, max 30")));
}

pb::AttendResult Result(size_t tokens) {
  pb::AttendResult result;
  std::vector<float> output;
  for (size_t i = 0; i < tokens; ++i) output.insert(output.end(), {3, 4, 0, 0});
  *result.mutable_output() = *MakeTensor(output, tokens, 2, 2);
  const std::vector<float> sums(tokens * 2, 1.5F);
  *result.mutable_log_sum_exp() = *MakeTensor(sums, tokens, 2, 1);
  return result;
}

TEST(AttentionReportTest, OutputShowsNormsPerQuery) {
  const auto text = OutputText(Result(2));

  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("    1     2.5000  0.0000  5.0000            1.5000"));
}

TEST(AttentionReportTest, ManyQueriesAreCutShort) {
  EXPECT_THAT(*OutputText(Result(20)), HasSubstr("and 4 more queries"));
}

TEST(AttentionReportTest, AMalformedAnswerIsAnError) {
  pb::AttendResult result = Result(2);
  *result.mutable_log_sum_exp() = Result(1).log_sum_exp();
  EXPECT_EQ(OutputText(result).status().code(), StatusCode::kInternal);

  result.mutable_output()->set_data("short");
  EXPECT_FALSE(OutputText(result).ok());
}

}  // namespace
}  // namespace alaya::client
