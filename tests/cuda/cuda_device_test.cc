// The backend over a real device: as cuda_backend_test.cc over one that is not.

#include "cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/backend/cuda_backend.h"
#include "cuda/device/device_list.h"
#include "index/attention/sparse_attention.h"
#include "index/coarse/coarse_index.h"
#include "index/graph/build_progress.h"
#include "index/graph/query_lists.h"
#include "tests/cuda/backend/made_part.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {20'000, 2, 128, DType::kBF16};

class CudaBackendOnDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto devices = ListCudaDevices();
    if (!devices.ok() || devices->empty()) GTEST_SKIP() << "this machine has no CUDA device";
    constexpr uint64_t kBudget = 512 << 20;
    auto device = OpenCudaDevice(0, kBudget);
    ASSERT_TRUE(device.ok()) << Message(device.status());
    CudaBackendOptions options = CudaBackendOptions::ForBudget(kBudget);
    options.lane.missed_rows_max = 16'384;
    auto backend = CudaBackend::Open(*std::move(device), options);
    ASSERT_TRUE(backend.ok()) << Message(backend.status());
    backend_ = *std::move(backend);
  }

  std::unique_ptr<DeviceOffer> OfferOf(const MadePart& part, const DeviceTask& task) {
    for (int i = 0; i < 4000; ++i) {
      std::unique_ptr<DeviceOffer> offer = backend_->Offer(task, part.source());
      if (offer != nullptr) return offer;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return nullptr;
  }

  void ExpectAttention(const MadePart& part, const DeviceTask& task, uint64_t seed) {
    const std::vector<float> queries = part.Queries(task.queries_per_head, seed);
    const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
    ASSERT_NE(offer, nullptr) << "the part never came";
    const auto attention = offer->Accept(part.Matrix(queries));
    ASSERT_TRUE(attention.ok()) << Message(attention.status());
    const size_t count = task.queries_per_head;
    const size_t head_dim = task.shape.head_dim;
    std::vector<float> output(count * head_dim);
    std::vector<float> log_sum_exp(count);
    for (uint32_t head = 0; head < task.shape.kv_head_count; ++head) {
      const auto report = (*attention)
                              ->Finish(KvHeadIndex{head}, part.head(head),
                                       {{output.data(), count, head_dim}, log_sum_exp});
      ASSERT_TRUE(report.ok()) << Message(report.status());
      for (size_t q = 0; q < count; ++q) {
        const ExactAttention expected =
            part.Expected(task, part.Matrix(queries).row(head * count + q), head);
        EXPECT_LT(OutputError(std::span(output).subspan(q * head_dim, head_dim), expected.output),
                  0.04);
        EXPECT_NEAR(log_sum_exp[q], expected.log_sum_exp, 0.03);
      }
    }
  }

  std::unique_ptr<CudaBackend> backend_;
};

TEST_F(CudaBackendOnDeviceTest, StepsAreThoseOfTheDefinitionWithAndWithoutCachedRows) {
  const MadePart part(1, kShape);
  // The third of a shape is the first that comes from a recorded sequence.
  for (int step = 0; step < 5; ++step) ExpectAttention(part, part.task(4), 9);

  EXPECT_GT(backend_->stats().cached_row_count, 0U);
  EXPECT_GT(backend_->costs().call_us, 0);
}

TEST_F(CudaBackendOnDeviceTest, PrefixesAndGroupsOfManyQueriesAreAnswered) {
  const MadePart part(1, kShape);
  DeviceTask prefix = part.task(13);
  prefix.visible = {0, 15'001};
  prefix.recent = {14'489, 15'001};

  ExpectAttention(part, prefix, 3);
}

TEST_F(CudaBackendOnDeviceTest, ManySessionsAtOnceGetTheirOwnAnswers) {
  const MadePart part(1, kShape);
  ExpectAttention(part, part.task(4), 1);
  std::vector<std::thread> threads;
  for (uint64_t session = 0; session < 6; ++session) {
    threads.emplace_back([&, session] {
      for (uint64_t step = 0; step < 4; ++step) {
        ExpectAttention(part, part.task(4), 100 * session + step);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_TRUE(backend_->stats().status.ok());
}

TEST_F(CudaBackendOnDeviceTest, AShortPartIsAnsweredFromItsRows) {
  const MadePart part(2, {3000, 2, 128, DType::kBF16});
  DeviceTask task = part.task(4);
  for (int step = 0; step < 3; ++step) ExpectAttention(part, task, 9);
  task.target = FullTarget();
  ExpectAttention(part, task, 9);

  EXPECT_GT(backend_->costs().ns_per_row, 0);
}

TEST_F(CudaBackendOnDeviceTest, BoundsOfACoarseIndexAreThoseOfTheCpu) {
  MadePart part(3, kShape);
  part.MakeCoarse();
  DeviceTask task = part.task(4);
  task.target = TopKTarget{100};
  task.estimate_rest = false;
  task.has_coarse = true;
  const std::vector<float> queries = part.Queries(4, 9);
  const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
  ASSERT_NE(offer, nullptr) << "the part never came";
  ASSERT_EQ(offer->cost().kind, IndexKind::kCoarse);
  const auto attention = offer->Accept(part.Matrix(queries));
  ASSERT_TRUE(attention.ok());
  const auto index = *CoarseIndex::Open(&part.coarse(0), &part.head(0));
  const SequencePart sequence = {.reader = &part.head(0), .index = index.get()};
  const std::vector<TokenRange> visible(4, task.visible);
  AttentionTask by_cpu;
  by_cpu.queries = part.Matrix(queries).rows_range(0, 4);
  by_cpu.visible = visible;
  by_cpu.parts = {&sequence, 1};
  by_cpu.target = task.target;
  by_cpu.scale = task.scale;
  std::vector<float> output(4 * size_t{kShape.head_dim});
  std::vector<float> log_sum_exp(4);
  std::vector<float> expected = output;
  std::vector<float> expected_log_sum_exp = log_sum_exp;
  ASSERT_TRUE(
      SparseAttention(by_cpu, {{expected.data(), 4, kShape.head_dim}, expected_log_sum_exp}).ok());

  ASSERT_TRUE(
      (*attention)
          ->Finish(KvHeadIndex{0}, part.head(0), {{output.data(), 4, kShape.head_dim}, log_sum_exp})
          .ok());

  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(log_sum_exp[i], expected_log_sum_exp[i], 1e-2);
}

TEST_F(CudaBackendOnDeviceTest, NearestKeysAreThoseOfTheCpu) {
  const MadePart part(4, kShape);
  const std::vector<float> queries = part.Queries(300, 9);
  GraphBuildOptions options;
  options.nearest_keys = backend_->nearest_keys();
  options.parallel_for = [](size_t count, const std::function<void(size_t)>& function) {
    for (size_t i = 0; i < count; ++i) function(i);
  };
  BuildProgress progress(&options);

  ASSERT_TRUE(FindQueryLists(part.head(0), part.Matrix(queries), options, progress).ok());

  // Had a sample of them been wrong, the CPU would have found them.
  EXPECT_EQ(backend_->stats().found_head_count, 1U);
}

}  // namespace
}  // namespace alaya
