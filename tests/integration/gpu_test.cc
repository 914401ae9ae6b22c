// The whole server with a GPU behind it that runs the kernels' programs on the host.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/service_test.h"
#include "tests/support/element_codec.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

using testing::HasSubstr;
using testing::Not;

class GpuTest : public ServiceTest {
 protected:
  static constexpr size_t kTokens = 6000;
  static constexpr size_t kStored = 5900;

  void Start(std::vector<std::string> arguments) {
    StartServer(std::move(arguments), FAKE_GPU_SERVER);
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), sequence_.model()));
    ASSERT_OK(Import(client(), sequence_.Branch(kStored, kStored, 1), "context"));
    ASSERT_OK_AND_ASSIGN(session_, OpenSession(client(), "context"));
    stream_.emplace(client().Attend());
  }
  void StartWithGpu() {
    ASSERT_EQ(setenv("FAKE_GPU_LOST_FILE", lost_file().c_str(), 1), 0);
    Start({"--gpu-memory-budget", "64MiB"});
  }
  ~GpuTest() override { unsetenv("FAKE_GPU_LOST_FILE"); }

  std::string lost_file() const { return directory() / "lost"; }

  pb::AttendResult Ask(bool full) {
    pb::AttendItem item = sequence_.Ask(session_, 0, kStored);
    item.mutable_options()->set_explain(true);
    if (full) {
      item.mutable_options()->mutable_full();
    } else {
      item.mutable_options()->mutable_dipr()->set_alpha(0.3);
    }
    auto result = stream_->AttendOne(item);
    EXPECT_OK(result);
    return result.ok() ? *result : pb::AttendResult();
  }
  // Asks until the GPU answers.
  pb::AttendResult AskGpu() {
    for (int i = 0; i < 9000; ++i) {
      pb::AttendResult result = Ask(/*full=*/false);
      if (result.stats().plans_size() > 0 && result.stats().plans(0).tier() == pb::TIER_GPU) {
        return result;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "the GPU never answered";
    return {};
  }
  std::string Metrics() {
    const auto response = httplib::Client("http://" + server().metrics_address()).Get("/metrics");
    return response ? response->body : "";
  }
  static std::vector<float> Floats(const pb::Tensor& tensor) {
    return Decode(std::as_bytes(std::span(tensor.data())),
                  tensor.dtype() == pb::DTYPE_F32 ? DType::kF32 : DType::kBF16);
  }
  static void ExpectSameOutput(const std::vector<float>& a, const std::vector<float>& b) {
    const size_t head_dim = 128;
    ASSERT_EQ(a.size(), b.size());
    for (size_t head = 0; head < a.size() / head_dim; ++head) {
      const auto begin = b.begin() + static_cast<std::ptrdiff_t>(head * head_dim);
      const std::vector<double> expected(begin, begin + static_cast<std::ptrdiff_t>(head_dim));
      EXPECT_LT(OutputError(std::span(a).subspan(head * head_dim, head_dim), expected), 0.08);
    }
  }
  static void ExpectSameAttention(const pb::AttendResult& a, const pb::AttendResult& b) {
    const std::vector<float> a_lse = Floats(a.log_sum_exp());
    const std::vector<float> b_lse = Floats(b.log_sum_exp());
    ASSERT_EQ(a_lse.size(), b_lse.size());
    ASSERT_FALSE(a_lse.empty());
    for (size_t i = 0; i < a_lse.size(); ++i) EXPECT_NEAR(a_lse[i], b_lse[i], 0.05) << "head " << i;
    ExpectSameOutput(Floats(a.output()), Floats(b.output()));
  }

  const KvSequence sequence_{MakeModel("test/gpu", {.layers = 1, .query_heads = 4, .kv_heads = 2}),
                             kTokens, /*seed=*/17};
  std::string session_;
  std::optional<client::AttendStream> stream_;
};

TEST_F(GpuTest, AHotContextIsAnsweredByTheGpuAndAllFiguresSaySo) {
  StartWithGpu();
  ASSERT_FALSE(HasFatalFailure());

  const pb::AttendResult result = AskGpu();
  ASSERT_GT(result.stats().plans_size(), 0);

  EXPECT_THAT(result.stats().plans(0).reason(), HasSubstr("on the GPU"));
  EXPECT_GT(result.stats().plans(0).predicted_microseconds(), 0);
  EXPECT_GT(result.stats().plans(0).actual_microseconds(), 0);
  ASSERT_OK_AND_ASSIGN(const auto stats, client().GetStats());
  ASSERT_EQ(stats.tiers_size(), 3);
  EXPECT_EQ(stats.tiers(2).tier(), pb::TIER_GPU);
  EXPECT_GT(stats.tiers(2).used_bytes(), 0U);
  EXPECT_LE(stats.tiers(2).used_bytes(), 64U << 20);
  EXPECT_EQ(stats.tiers(2).capacity_bytes(), 64U << 20);
  EXPECT_GT(stats.tiers(2).hits(), 0U);
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("alaya_tier_bytes{tier=\"gpu\"}"));
  EXPECT_THAT(metrics, HasSubstr("alaya_gpu_parts 1\n"));
  EXPECT_THAT(metrics, HasSubstr("alaya_gpu_lost 0\n"));
  EXPECT_THAT(server().Log(), HasSubstr("fake:0"));
  ExpectSameAttention(result, Ask(/*full=*/true));
}

TEST_F(GpuTest, AFineIndexIsBuiltWithTheGpusHelp) {
  StartWithGpu();
  ASSERT_FALSE(HasFatalFailure());
  const KvSequence small(sequence_.model(), /*token_count=*/700, /*seed=*/18);
  pb::ImportContextRequest::Header header = ImportHeader(small, "fine");
  header.mutable_index_options()->add_kinds(pb::INDEX_KIND_FINE);

  ASSERT_OK_AND_ASSIGN(auto importer, client().ImportContext(header));
  ASSERT_OK(AppendLayers(small, 0, importer));
  ASSERT_OK(importer.Commit());

  const std::string built = "alaya_gpu_built_heads_total{by=\"gpu\"} 2\n";
  for (int i = 0; i < 6000 && Metrics().find(built) == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(Metrics(), HasSubstr(built));
  EXPECT_THAT(Metrics(), HasSubstr("alaya_gpu_built_heads_total{by=\"cpu\"} 0\n"));
  EXPECT_THAT(server().Log(), Not(HasSubstr("gpu_wrong")));
}

TEST_F(GpuTest, ALostGpuFailsNoRequest) {
  StartWithGpu();
  ASSERT_FALSE(HasFatalFailure());
  const pb::AttendResult before = AskGpu();
  ASSERT_GT(before.stats().plans_size(), 0);
  std::ofstream(lost_file()) << "now";

  const pb::AttendResult after = Ask(/*full=*/false);

  ASSERT_GT(after.stats().plans_size(), 0);
  EXPECT_NE(after.stats().plans(0).tier(), pb::TIER_GPU);
  // Where the CPU has no index that estimates, it attends to the critical tokens alone, as
  // it does without a GPU: a part of what the GPU's answer holds.
  const std::vector<float> of_cpu = Floats(after.log_sum_exp());
  const std::vector<float> of_gpu = Floats(before.log_sum_exp());
  ASSERT_EQ(of_cpu.size(), of_gpu.size());
  for (size_t i = 0; i < of_cpu.size(); ++i) EXPECT_LE(of_cpu[i], of_gpu[i] + 0.05);
  if (after.stats().tail_estimated()) ExpectSameAttention(after, before);
  ExpectSameAttention(Ask(/*full=*/true), before);
  for (int i = 0; i < 6000 && server().Log().find("gpu_lost") == std::string::npos; ++i) {
    ASSERT_GT(Ask(/*full=*/false).stats().plans_size(), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(Metrics(), HasSubstr("alaya_gpu_lost 1\n"));
  EXPECT_THAT(server().Log(), HasSubstr("gpu_lost"));
}

TEST_F(GpuTest, WithoutADeviceTheServerSaysSoOnceAndWorks) {
  Start({"--gpu-memory-budget", "64MiB"});
  ASSERT_FALSE(HasFatalFailure());

  EXPECT_FALSE(Floats(Ask(/*full=*/false).log_sum_exp()).empty());

  const std::string log = server().Log();
  const size_t said = log.find("no_gpu");
  ASSERT_NE(said, std::string::npos);
  EXPECT_EQ(log.find("no_gpu", said + 1), std::string::npos);
  EXPECT_THAT(log, HasSubstr("this machine has no fake GPU"));
  EXPECT_THAT(Metrics(), Not(HasSubstr("alaya_gpu_")));
}

}  // namespace
}  // namespace alaya
