// The metrics port: what it says after known calls, and that Prometheus accepts it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsTest : public ServiceTest {
 protected:
  static constexpr size_t kTokens = 250;

  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), sequence_.model()));
  }

  httplib::Result Get(const std::string& path) {
    return httplib::Client("http://" + server().metrics_address()).Get(path.c_str());
  }

  std::string Text() {
    const httplib::Result response = Get("/metrics");
    return response && response->status == 200 ? response->body : "";
  }

  // Values by series, as in `alaya_contexts` or `alaya_requests_total{code="OK",...}`.
  std::map<std::string, double> Series() {
    std::map<std::string, double> series;
    std::istringstream lines(Text());
    for (std::string line; std::getline(lines, line);) {
      const size_t space = line.rfind(' ');
      if (line.starts_with("#") || space == std::string::npos) continue;
      series[line.substr(0, space)] = std::stod(line.substr(space + 1));
    }
    return series;
  }

  // Sum of alaya_requests_total of a method and code.
  static double Requests(const std::map<std::string, double>& series, const std::string& method,
                         const std::string& code) {
    double sum = 0;
    for (const auto& [name, value] : series) {
      const bool matches = name.starts_with("alaya_requests_total{") &&
                           name.find("method=\"" + method + "\"") != std::string::npos &&
                           name.find("code=\"" + code + "\"") != std::string::npos;
      if (matches) sum += value;
    }
    return sum;
  }

  const KvSequence sequence_{MakeModel("test/metrics", {.query_heads = 8, .kv_heads = 2}), kTokens,
                             /*seed=*/91};
};

TEST_F(MetricsTest, AServingServerIsLiveAndReady) {
  for (const char* path : {"/livez", "/readyz"}) {
    const httplib::Result response = Get(path);
    ASSERT_TRUE(response) << path;
    EXPECT_EQ(response->status, 200) << path;
  }
  const httplib::Result unknown = Get("/nothing");
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->status, 404);
}

TEST_F(MetricsTest, CountersMoveAsCallsAreMade) {
  auto before = Series();
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend();
  for (int i = 0; i < 5; ++i) ASSERT_OK(stream.AttendOne(sequence_.Ask(session, 0, 0)));
  EXPECT_FALSE(stream.AttendOne(sequence_.Ask("unknown", 0, 0)).ok());
  ASSERT_OK(Match(client(), sequence_.model().name(), sequence_.Prefix(100)));
  EXPECT_FALSE(Delete(client(), "unknown").ok());

  auto after = Series();

  const auto grown = [&](const std::string& method, const std::string& code) {
    return Requests(after, method, code) - Requests(before, method, code);
  };
  EXPECT_EQ(grown("ImportContext", "OK"), 1);
  EXPECT_EQ(grown("CreateSession", "OK"), 1);
  EXPECT_EQ(grown("Attend", "OK"), 5);
  EXPECT_EQ(grown("Attend", "NOT_FOUND"), 1);
  EXPECT_EQ(grown("DeleteContext", "NOT_FOUND"), 1);
  EXPECT_EQ(after["alaya_contexts"] - before["alaya_contexts"], 1);
  EXPECT_EQ(after["alaya_sessions"] - before["alaya_sessions"], 1);
  EXPECT_EQ(after["alaya_stored_tokens"] - before["alaya_stored_tokens"], kTokens);
  EXPECT_EQ(after["alaya_hit_tokens_total"] - before["alaya_hit_tokens_total"], 100);
  EXPECT_EQ(after["alaya_lookup_tokens_total"] - before["alaya_lookup_tokens_total"], 100);
  // 5 items of 8 query heads; a short context is attended whole.
  EXPECT_EQ(after["alaya_attended_tokens_total"] - before["alaya_attended_tokens_total"],
            5 * 8 * kTokens);
  EXPECT_GT(after["process_resident_memory_bytes"], 1e6);
}

TEST_F(MetricsTest, StagesOfAttentionAgreeWithGetStats) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend();
  ASSERT_OK(stream.AttendOne(sequence_.Ask(session, 0, 0)));
  ASSERT_OK_AND_ASSIGN(const auto stats, client().GetStats());
  auto series = Series();

  ASSERT_EQ(stats.attend_stages_size(), 4);
  for (const pb::AttendStageStats& stage : stats.attend_stages()) {
    EXPECT_GT(stage.items(), 0);
    EXPECT_EQ(series["alaya_attend_stage_seconds_count{stage=\"" + stage.stage() + "\"}"],
              static_cast<double>(stage.items()));
    EXPECT_EQ(stage.bucket_items(stage.bucket_items_size() - 1), stage.items());
  }
}

TEST_F(MetricsTest, GaugesAgreeWithGetStats) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const auto stats, client().GetStats());
  auto series = Series();

  EXPECT_EQ(series["alaya_models"], static_cast<double>(stats.models()));
  EXPECT_EQ(series["alaya_contexts"], static_cast<double>(stats.contexts()));
  EXPECT_EQ(series["alaya_segments"], static_cast<double>(stats.segments()));
  for (const pb::TierStats& tier : stats.tiers()) {
    if (tier.tier() != pb::TIER_MEMORY) continue;
    EXPECT_EQ(series["alaya_tier_bytes{tier=\"memory\"}"], static_cast<double>(tier.used_bytes()));
    EXPECT_EQ(series["alaya_tier_capacity_bytes{tier=\"memory\"}"],
              static_cast<double>(tier.capacity_bytes()));
  }
}

TEST_F(MetricsTest, LabelsNameNoSessionContextOrModel) {
  ASSERT_OK(Import(client(), sequence_, "secret-context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "secret-context"));
  client::AttendStream stream = client().Attend();
  ASSERT_OK(stream.AttendOne(sequence_.Ask(session, 0, 0)));

  const std::string text = Text();

  EXPECT_THAT(text, HasSubstr("alaya_build_info"));
  EXPECT_THAT(text, Not(HasSubstr("secret-context")));
  EXPECT_THAT(text, Not(HasSubstr(session)));
}

TEST_F(MetricsTest, PromtoolFindsNothingToComplainAbout) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "promtool is not installed (Debian package prometheus)";
  }
  ASSERT_OK(Import(client(), sequence_, "context"));
  std::ofstream(directory() / "metrics") << Text();

  const std::string input = directory() / "metrics";
  const std::string output = directory() / "lint";
  const int exit_status =
      std::system(("promtool check metrics < '" + input + "' > '" + output + "' 2>&1").c_str());

  std::ifstream lint(output);
  const std::string complaints{std::istreambuf_iterator<char>(lint), {}};
  EXPECT_EQ(exit_status, 0) << complaints;
  EXPECT_EQ(complaints, "");
}

}  // namespace
}  // namespace alaya
