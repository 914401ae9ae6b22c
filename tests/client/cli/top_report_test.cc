#include "client/cli/top_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>

namespace alaya::client {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

TopSample Sample(int seconds, uint64_t hits, uint64_t lookup_tokens) {
  TopSample sample;
  sample.time += std::chrono::seconds(seconds);
  sample.round_trip = std::chrono::microseconds(250);
  pb::TierStats* tier = sample.stats.add_tiers();
  tier->set_tier(pb::TIER_MEMORY);
  tier->set_used_bytes(1 << 20);
  tier->set_capacity_bytes(4 << 20);
  tier->set_hits(hits);
  sample.stats.set_lookup_tokens(lookup_tokens);
  return sample;
}

TEST(TopReportTest, CountersAreShownAsRates) {
  const std::string text = TopText(Sample(12, 5'000, 300), Sample(10, 1'000, 100), 20);

  EXPECT_THAT(text, AllOf(ContainsRegex("memory +1.0 MiB +4.0 MiB +25.0 % +0 B +2,000/s +0/s"),
                          HasSubstr("100/s tokens"), HasSubstr("250.0 us")));
}

TEST(TopReportTest, WithoutALookBeforeThereAreNoRates) {
  EXPECT_THAT(TopText(Sample(12, 5'000, 300), std::nullopt, 20), Not(HasSubstr("/s")));
}

TEST(TopReportTest, ARestartOfTheServerGivesNoNegativeRate) {
  EXPECT_THAT(TopText(Sample(12, 10, 300), Sample(10, 1'000, 100), 20),
              ContainsRegex("memory .* - +0/s"));
}

// `fast` of the items took at most 1 ms, all but one at most 2 ms.
TopSample SampleWithTimes(int seconds, uint64_t items, uint64_t fast) {
  TopSample sample = Sample(seconds, 0, 0);
  pb::AttendStageStats* stage = sample.stats.add_attend_stages();
  stage->set_stage("search");
  stage->set_items(items);
  stage->set_seconds(static_cast<double>(items) * 0.0015);
  for (const double upper : {0.001, 0.002, std::numeric_limits<double>::infinity()}) {
    stage->add_bucket_upper_seconds(upper);
  }
  stage->add_bucket_items(fast);
  stage->add_bucket_items(items == 0 ? 0 : items - 1);
  stage->add_bucket_items(items);
  return sample;
}

TEST(TopReportTest, TimesOfAttentionAreThoseOfTheItemsInBetween) {
  const TopSample before = SampleWithTimes(10, 1'000, 900);
  const TopSample now = SampleWithTimes(12, 1'200, 950);

  // 50 of 200 in the first millisecond, 150 in the second: half are done at 1.33 ms.
  EXPECT_THAT(TopText(now, before, 20), ContainsRegex("search +100/s +1.50 ms +1.33 ms +1.99 ms"));
}

TEST(TopReportTest, TimesAreThoseSinceTheStartWhereThereIsNoLookBefore) {
  const TopSample now = SampleWithTimes(12, 100, 50);

  EXPECT_THAT(TopText(now, std::nullopt, 20),
              ContainsRegex("search +- +1.50 ms +1.00 ms +2.00 ms"));
  // The server was started anew.
  EXPECT_THAT(TopText(now, SampleWithTimes(10, 500, 400), 20),
              ContainsRegex("search +- +1.50 ms +1.00 ms +2.00 ms"));
}

TEST(TopReportTest, TimesBeyondTheLastBoundAreShownAsSuch) {
  EXPECT_THAT(TopText(SampleWithTimes(12, 1, 0), std::nullopt, 20),
              ContainsRegex("search .* > 2.00 ms +> 2.00 ms"));
  EXPECT_THAT(TopText(SampleWithTimes(12, 0, 0), std::nullopt, 20),
              ContainsRegex("search +- +- +- +-"));
}

TEST(TopReportTest, TheSessionsUsedLastComeFirst) {
  TopSample sample = Sample(1, 0, 0);
  for (const char* name : {"old", "new", "middle"}) {
    pb::Session& session = sample.sessions.emplace_back();
    session.set_session_id(name);
  }
  sample.sessions[0].mutable_last_use_time()->set_seconds(100);
  sample.sessions[1].mutable_last_use_time()->set_seconds(300);
  sample.sessions[2].mutable_last_use_time()->set_seconds(200);

  const std::string text = TopText(sample, std::nullopt, 2);

  EXPECT_LT(text.find("new"), text.find("middle"));
  EXPECT_THAT(text, AllOf(Not(HasSubstr("old")), HasSubstr("and 1 used less recently")));
}

}  // namespace
}  // namespace alaya::client
