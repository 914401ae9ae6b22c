#include "client/cli/explain_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace alaya::client {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

ExplainedAttention Attention() {
  ExplainedAttention attention{.layer = 3, .round_trip = std::chrono::microseconds(1000)};
  attention.session.set_session_id("7");
  attention.session.set_reused_tokens(900);
  attention.session.set_tail_tokens(100);
  pb::AttendResult& result = attention.result;
  for (const int64_t size : {2, 2, 8}) result.mutable_output()->add_shape(size);
  pb::AttendStats& stats = *result.mutable_stats();
  pb::SegmentPlan& plan = *stats.add_plans();
  plan.set_token_count(900);
  plan.set_index(pb::INDEX_KIND_FLAT);
  plan.set_tier(pb::TIER_MEMORY);
  plan.set_predicted_microseconds(300);
  plan.set_actual_microseconds(400);
  plan.set_reason("it is predicted fastest");
  pb::SegmentPlan& rejected = *stats.add_rejected_plans();
  rejected.set_index(pb::INDEX_KIND_EXACT);
  rejected.set_predicted_microseconds(800);
  rejected.set_reason("slower");
  stats.set_queue_microseconds(100);
  stats.set_search_microseconds(250);
  stats.set_attend_microseconds(350);
  stats.set_engine_microseconds(750);
  for (const uint64_t attended : {1U, 2U, 500U, 20U}) stats.add_head_tokens_attended(attended);
  for (const float mass : {0.1F, 0.2F, 0.999F, 0.995F}) stats.add_head_covered_mass(mass);
  return attention;
}

TEST(ExplainReportTest, APlanIsShownWithWhatLostAgainstIt) {
  EXPECT_THAT(ExplainText(Attention()),
              AllOf(HasSubstr("Layer 3 of session '7': 2 queries of 2 heads over 1,000 tokens, "
                              "900 of them stored\n"),
                    HasSubstr("Tokens 0 to 900: flat, from memory, 400.0 us (predicted 300.0 us)\n"
                              "  because it is predicted fastest\n"
                              "  not exact, predicted 800.0 us: slower\n")));
}

TEST(ExplainReportTest, WhatBecameOfTheRestIsSaid) {
  ExplainedAttention attention = Attention();
  pb::AttendStats& stats = *attention.result.mutable_stats();
  stats.set_tokens_attended(523);
  EXPECT_THAT(ExplainText(attention), HasSubstr("The rest was left out.\n"));
  stats.set_tail_estimated(true);
  EXPECT_THAT(ExplainText(attention), HasSubstr("The rest was estimated and merged in.\n"));
  stats.set_tokens_attended(uint64_t{2} * 2 * 1000);
  EXPECT_THAT(ExplainText(attention), HasSubstr("Nothing was left out.\n"));
}

TEST(ExplainReportTest, StagesAddUpToTheRoundTrip) {
  EXPECT_THAT(
      ExplainText(Attention()),
      AllOf(ContainsRegex("queue +100.0 us  ##\n"), ContainsRegex("search +250.0 us  ######\n"),
            ContainsRegex("rest of the engine +50.0 us  #\n"),
            ContainsRegex("wire and client +250.0 us  ######\n")));
}

TEST(ExplainReportTest, HeadsAreThoseOfTheLastQuery) {
  EXPECT_THAT(ExplainText(Attention()),
              AllOf(ContainsRegex("0 +500 +50.0 %  ############ +0.9990\n"),
                    ContainsRegex("1 +20 +2.0 %  # +0.9950\n"), Not(HasSubstr("0.1000"))));
}

TEST(ExplainReportTest, AnAnswerWithoutDetailIsShownAsFarAsItGoes) {
  ExplainedAttention attention = Attention();
  attention.result.mutable_stats()->Clear();

  EXPECT_THAT(ExplainText(attention), HasSubstr("No stored segment was read"));
}

}  // namespace
}  // namespace alaya::client
