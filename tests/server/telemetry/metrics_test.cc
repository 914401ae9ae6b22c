#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "server/telemetry/engine_collector.h"

namespace alaya {
namespace {

using std::chrono::microseconds;
using testing::HasSubstr;
using testing::Not;

std::shared_ptr<EngineCollector> SomeCollector() {
  EngineStats stats;
  stats.sessions = 3;
  stats.lookup_tokens = 100;
  stats.hit_tokens = 60;
  stats.memory_hit_tokens = 40;
  stats.store.memory.catalog = 1700;
  stats.store.cache.classes[static_cast<size_t>(PageClass::kValue)].used_bytes = 4096;
  stats.store.cache.classes[static_cast<size_t>(PageClass::kIndex)].misses = 7;
  stats.store.cache.evictions = 5;
  stats.store.cache.prefetch_useful = 2;
  stats.store.cache.used_bytes = 4096;
  stats.store.cache.capacity_bytes = 8192;
  stats.store.disk_bytes = 10;
  stats.store.disk_free_bytes = 5;
  stats.store.disk_high_water_bytes = 8;
  stats.store.disk_low_water_bytes = 6;
  stats.store.evicted_contexts = 2;
  stats.expired_contexts = 1;
  stats.segment_merges = 4;
  stats.bytes_in_flight = 42;
  stats.refused_by_totals = 6;
  stats.store.joined_segments = 17;
  stats.device = DeviceStats{.used_bytes = 100,
                             .capacity_bytes = 200,
                             .part_count = 3,
                             .missed_row_count = 9,
                             .status = Unavailable("lost")};
  return std::make_shared<EngineCollector>(
      [stats] { return stats; },
      [] {
        return ConnectionFigures{.accepted = 9,
                                 .refused_for_files = 2,
                                 .refused_users = 3,
                                 .failed_accepts = 1,
                                 .certificate_end = WallTime(std::chrono::seconds(1'900'000'000))};
      },
      ReadProcessStats, WallTime());
}

TEST(MetricsTest, StagesOfAttentionAreHistograms) {
  Metrics metrics("1.0", "test");
  AttendStats stats;
  stats.search_us = 300;
  metrics.AttendItemFinished(StatusCode::kOk, microseconds(500), stats);
  stats.search_us = 1e12;
  metrics.AttendItemFinished(StatusCode::kOk, microseconds(500), stats);

  const std::vector<AttendStageTimes> stages = metrics.attend_stages();

  ASSERT_EQ(stages.size(), 4U);
  EXPECT_EQ(stages[1].stage, "search");
  EXPECT_EQ(stages[1].items, 2U);
  EXPECT_NEAR(stages[1].seconds, 1e6 + 300e-6, 1e-6);
  for (const AttendStageTimes::Bucket& bucket : stages[1].buckets) {
    EXPECT_EQ(bucket.items, bucket.upper_seconds < 300e-6      ? 0
                            : std::isinf(bucket.upper_seconds) ? 2
                                                               : 1);
  }
  EXPECT_TRUE(std::isinf(stages[1].buckets.back().upper_seconds));
}

TEST(MetricsTest, CallsAreCountedByMethodAndCode) {
  Metrics metrics("1.0", "test");
  for (int i = 0; i < 2; ++i) {
    metrics.CallStarted();
    metrics.CallFinished("GetContext", StatusCode::kNotFound, microseconds(300));
  }
  metrics.CallStarted();

  const std::string text = metrics.Text();

  EXPECT_THAT(text, HasSubstr("alaya_calls_in_flight 1\n"));
  EXPECT_THAT(text,
              HasSubstr("alaya_requests_total{code=\"NOT_FOUND\",method=\"GetContext\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("alaya_request_duration_seconds_count{method=\"GetContext\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("alaya_build_info{build=\"test\",version=\"1.0\"} 1\n"));
}

TEST(MetricsTest, AttentionItemsFillTheStageHistograms) {
  Metrics metrics("1.0", "test");
  AttendStats stats;
  stats.queue_us = 20;
  stats.search_us = 90;
  stats.attend_us = 400;
  stats.engine_us = 600;
  metrics.AttendItemFinished(StatusCode::kOk, microseconds(700), stats);
  metrics.AttendItemFinished(StatusCode::kNotFound, microseconds(10), AttendStats{});

  const std::string text = metrics.Text();

  EXPECT_THAT(text, HasSubstr("alaya_requests_total{code=\"OK\",method=\"Attend\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("alaya_requests_total{code=\"NOT_FOUND\",method=\"Attend\"} 1\n"));
  // Failed items did not go through the stages.
  EXPECT_THAT(text, HasSubstr("alaya_attend_stage_seconds_count{stage=\"queue\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("alaya_attend_stage_seconds_bucket{stage=\"queue\",le=\"5e-05\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("alaya_attend_stage_seconds_bucket{stage=\"search\",le=\"5e-05\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("alaya_attend_stage_seconds_bucket{stage=\"engine\",le=\"1\"} 1\n"));
}

TEST(MetricsTest, TheEngineIsAskedWhenSomebodyScrapes) {
  Metrics metrics("1.0", "test");
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("alaya_sessions")));
  metrics.SetCollectable(SomeCollector());

  const std::string text = metrics.Text();

  EXPECT_THAT(text, HasSubstr("alaya_sessions 3\n"));
  EXPECT_THAT(text, HasSubstr("alaya_lookup_tokens_total 100\n"));
  EXPECT_THAT(text, HasSubstr("alaya_hit_tokens_total 60\n"));
  EXPECT_THAT(text, HasSubstr("alaya_memory_hit_tokens_total 40\n"));
  EXPECT_THAT(text, HasSubstr("alaya_page_bytes{kind=\"value\"} 4096\n"));
  EXPECT_THAT(text, HasSubstr("alaya_store_memory_bytes{part=\"catalog\"} 1700\n"));
  EXPECT_THAT(text, HasSubstr("alaya_page_misses_total{kind=\"index\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("alaya_page_evictions_total{reason=\"room\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("alaya_page_prefetch_total{result=\"useful\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("alaya_tier_bytes{tier=\"memory\"} 4096\n"));
  EXPECT_THAT(text, HasSubstr("alaya_tier_capacity_bytes{tier=\"disk\"} 15\n"));
  EXPECT_THAT(text, HasSubstr("alaya_tier_bytes{tier=\"gpu\"} 100\n"));
  EXPECT_THAT(text, HasSubstr("alaya_tier_capacity_bytes{tier=\"gpu\"} 200\n"));
  EXPECT_THAT(text, HasSubstr("alaya_gpu_parts 3\n"));
  EXPECT_THAT(text, HasSubstr("alaya_gpu_rows_total{result=\"missed\"} 9\n"));
  EXPECT_THAT(text, HasSubstr("alaya_gpu_lost 1\n"));
  EXPECT_THAT(text, HasSubstr("alaya_disk_mark_bytes{mark=\"high\"} 8\n"));
  EXPECT_THAT(text, HasSubstr("alaya_disk_mark_bytes{mark=\"low\"} 6\n"));
  EXPECT_THAT(text, HasSubstr("alaya_context_evictions_total{reason=\"quota\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("alaya_context_evictions_total{reason=\"expired\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("alaya_segment_merges_total{result=\"joined\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("alaya_joined_segments_total 17\n"));
  EXPECT_THAT(text, HasSubstr("alaya_in_flight_bytes 42\n"));
  EXPECT_THAT(text, HasSubstr("alaya_limit_refused_total 6\n"));
  EXPECT_THAT(text, HasSubstr("alaya_connections_accepted_total 9\n"));
  EXPECT_THAT(text, HasSubstr("alaya_connections_refused_total{reason=\"open_files\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("alaya_connections_refused_total{reason=\"user\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("alaya_accept_failures_total 1\n"));
  EXPECT_THAT(text, HasSubstr("alaya_tls_certificate_not_after_timestamp_seconds 1900000000\n"));
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0\n")));
  metrics.SetCollectable(nullptr);
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("alaya_sessions")));
}

TEST(MetricsTest, PromtoolFindsNothingToComplainAbout) {
  if (std::system("promtool --version > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "promtool is not installed";
  }
  Metrics metrics("1.0", "test");
  metrics.SetCollectable(SomeCollector());
  metrics.CallStarted();
  metrics.CallFinished("GetContext", StatusCode::kOk, microseconds(300));
  metrics.AttendItemFinished(StatusCode::kOk, microseconds(700), AttendStats{});
  const std::string text = metrics.Text();

  std::FILE* promtool = popen("promtool check metrics 2>&1", "w");
  ASSERT_NE(promtool, nullptr);
  std::fwrite(text.data(), 1, text.size(), promtool);
  const int result = pclose(promtool);

  // 3 would be a lint finding, which promtool prints.
  EXPECT_EQ(WEXITSTATUS(result), 0) << text;
}

}  // namespace
}  // namespace alaya
