#include "client/cli/bench_run.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>

#include "tests/client/client_fixture.h"

namespace alaya::client {
namespace {

TEST(PercentileTest, IsTheSampleThatTheShareDoesNotExceed) {
  std::vector<double> samples = {5, 1, 4, 2, 3};
  EXPECT_EQ(Percentile(samples, 0.5), 3);
  EXPECT_EQ(Percentile(samples, 0.99), 5);
  EXPECT_EQ(Percentile(samples, 1), 5);
  EXPECT_EQ(Percentile(samples, 0), 1);
  std::vector<double> none;
  EXPECT_EQ(Percentile(none, 0.5), 0);
}

class BenchRunTest : public ClientTest {
 protected:
  static BenchPlan Plan() {
    BenchPlan plan;
    plan.model.set_num_query_heads(4);
    plan.model.set_num_kv_heads(2);
    plan.model.set_head_dim(8);
    plan.model.set_dtype(pb::DTYPE_BF16);
    plan.session_ids = {"a", "b", "c"};
    plan.layer_count = 2;
    plan.thread_count = 2;
    plan.step_count = 3;
    plan.warmup_step_count = 1;
    return plan;
  }
};

TEST_F(BenchRunTest, EverySessionDecodesEveryLayerOfEveryStep) {
  std::mutex mutex;
  std::multiset<std::pair<std::string, uint32_t>> attended;
  server_.sessions.attend_script = [&](grpc::ServerContext*, FakeSessionService::AttendCall* call) {
    pb::AttendRequest request;
    while (call->Read(&request)) {
      {
        const std::lock_guard lock(mutex);
        attended.emplace(request.items(0).session_id(), request.items(0).layer());
      }
      call->Write(FakeSessionService::EchoAnswer(request));
    }
    return grpc::Status::OK;
  };

  const auto result = RunBench(Connect(), Plan());

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->samples.size(), 3U * 2 * 3);
  EXPECT_GT(result->wall_seconds, 0);
  for (const char* session : {"a", "b", "c"}) {
    for (const uint32_t layer : {0U, 1U}) EXPECT_EQ(attended.count({session, layer}), 4U);
  }
}

TEST_F(BenchRunTest, SamplesSplitTheTime) {
  const auto result = RunBench(Connect(), Plan());

  ASSERT_TRUE(result.ok()) << result.status();
  for (const AttendSample& sample : result->samples) {
    EXPECT_EQ(sample.engine, 1);
    EXPECT_EQ(sample.transport(), sample.client - 1);
    EXPECT_EQ(sample.tokens_attended, 640 / 4);
  }
}

TEST_F(BenchRunTest, AnItemsErrorEndsTheRun) {
  BenchPlan plan = Plan();
  plan.session_ids.push_back("unknown");

  EXPECT_EQ(RunBench(Connect(), plan).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace alaya::client
