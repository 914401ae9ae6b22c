// The backend over a device that runs its programs on the host.

#include "cuda/backend/cuda_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cuda/backend/made_part.h"
#include "tests/cuda/device/fake_device.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {6000, 2, 128, DType::kBF16};

class CudaBackendTest : public testing::Test {
 protected:
  // With room for so many parts of kShape.
  void Open(size_t part_count) {
    CudaBackendOptions options;
    options.lane = {.task_count_max = 32,
                    .scratch_bytes = 8 << 20,
                    .missed_rows_max = 6000,
                    .admit_bytes = 1 << 18};
    options.calibration_tokens = 2048;
    options.on_given_up = [this](const Status&) { ++given_up_count_; };
    static const uint64_t taken = [&] {
      Open(uint64_t{20} << 20, options);
      return backend_->stats().used_bytes;
    }();
    Open(taken + part_count * PartLayout::Of(kShape)->bytes(), options);
    launches_before_ = control_->attend_count;
  }

  void Open(uint64_t budget, const CudaBackendOptions& options) {
    backend_.reset();
    auto backend = CudaBackend::Open(MakeFakeDevice(budget, control_), options);
    ASSERT_TRUE(backend.ok()) << Message(backend.status());
    backend_ = *std::move(backend);
  }

  // False: it did not come true for as long as a machine can be busy with other things.
  template <class Condition>
  static bool ComesTrue(Condition condition) {
    const auto begin = std::chrono::steady_clock::now();
    while (!condition()) {
      if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(90)) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  // Uses the part until the device has it.
  std::unique_ptr<DeviceOffer> OfferOf(const MadePart& part, const DeviceTask& task) {
    std::unique_ptr<DeviceOffer> offer;
    EXPECT_TRUE(ComesTrue([&] {
      offer = backend_->Offer(task, part.source());
      return offer != nullptr;
    })) << "the part never came";
    return offer;
  }
  // Uses the part so many times, which brings it to the device.
  void Use(const MadePart& part, int count) {
    const uint64_t promotions = backend_->stats().promotion_count;
    for (int i = 0; i < count; ++i) backend_->Offer(part.task(1), part.source());
    ASSERT_TRUE(ComesTrue([&] { return backend_->stats().promotion_count > promotions; }));
  }

  struct Answer {
    std::vector<float> output;
    std::vector<float> log_sum_exp;
    std::vector<DeviceHeadReport> heads;
    Status status;
  };
  Answer Finish(const MadePart& part, const DeviceTask& task, DeviceAttention* attention) const {
    const size_t count = task.queries_per_head;
    const size_t head_dim = task.shape.head_dim;
    Answer answer;
    answer.output.resize(task.shape.kv_head_count * count * head_dim);
    answer.log_sum_exp.resize(task.shape.kv_head_count * count);
    for (uint32_t head = 0; head < task.shape.kv_head_count; ++head) {
      const AttentionPart output = {
          {answer.output.data() + head * count * head_dim, count, head_dim},
          std::span(answer.log_sum_exp).subspan(head * count, count)};
      auto report = attention->Finish(KvHeadIndex{head}, part.head(head), output);
      answer.status.Update(report.status());
      if (report.ok()) answer.heads.push_back(*std::move(report));
    }
    return answer;
  }
  Answer Ask(const MadePart& part, const DeviceTask& task, const std::vector<float>& queries) {
    const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
    if (offer == nullptr) return {{}, {}, {}, Internal("no offer")};
    auto attention = offer->Accept(part.Matrix(queries));
    if (!attention.ok()) return {{}, {}, {}, attention.status()};
    return Finish(part, task, attention->get());
  }

  void ExpectAttention(const MadePart& part, const DeviceTask& task,
                       const std::vector<float>& queries, const Answer& answer) const {
    ASSERT_TRUE(answer.status.ok()) << Message(answer.status);
    const size_t head_dim = task.shape.head_dim;
    for (size_t i = 0; i < answer.log_sum_exp.size(); ++i) {
      const auto head = static_cast<uint32_t>(i / task.queries_per_head);
      const ExactAttention expected = part.Expected(task, part.Matrix(queries).row(i), head);
      const std::span<const float> output =
          std::span(answer.output).subspan(i * head_dim, head_dim);
      EXPECT_LT(OutputError(output, expected.output), 0.04) << "query " << i;
      EXPECT_NEAR(answer.log_sum_exp[i], expected.log_sum_exp, 0.03) << "query " << i;
    }
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  std::atomic<int> given_up_count_{0};
  uint64_t launches_before_ = 0;
  std::unique_ptr<CudaBackend> backend_;
};

TEST_F(CudaBackendTest, APartComesByUseAndItsAttentionIsThatOfTheDefinition) {
  Open(2);
  const MadePart part(1, kShape);
  const DeviceTask task = part.task(4);
  const std::vector<float> queries = part.Queries(4, 9);

  const Answer answer = Ask(part, task, queries);

  ExpectAttention(part, task, queries, answer);
  for (const DeviceHeadReport& head : answer.heads) {
    uint64_t sum = 0;
    for (size_t q = 0; q < 4; ++q) {
      EXPECT_GE(head.query_tokens_attended[q], 640U);
      EXPECT_LT(head.query_tokens_attended[q], kShape.token_count / 2);
      EXPECT_GT(head.query_covered_mass[q], 0.3F);
      EXPECT_LT(head.query_covered_mass[q], 1.0F);
      sum += head.query_tokens_attended[q];
    }
    EXPECT_EQ(head.tokens_attended, sum);
    EXPECT_GT(head.device_ns, 0U);
  }
  const DeviceStats stats = backend_->stats();
  EXPECT_EQ(stats.part_count, 1U);
  EXPECT_EQ(stats.promotion_count, 1U);
  EXPECT_GE(stats.miss_count, 1U);
  EXPECT_EQ(stats.hit_count, 1U);
  EXPECT_GT(stats.missed_row_count, 0U);
  EXPECT_TRUE(stats.status.ok());
}

TEST_F(CudaBackendTest, LaterStepsFindRowsInTheCacheAndAnswerAsWell) {
  Open(2);
  const MadePart part(1, kShape);
  const DeviceTask task = part.task(4);
  const std::vector<float> queries = part.Queries(4, 9);
  for (int step = 0; step < 4; ++step) {
    ExpectAttention(part, task, queries, Ask(part, task, queries));
  }

  EXPECT_GT(control_->admit_count, 0U);
  EXPECT_GT(backend_->stats().cached_row_count, 0U);
  EXPECT_GT(OfferOf(part, task)->cost().rows_per_head, 0);
  EXPECT_GT(OfferOf(part, task)->cost().device_us, 0);
}

struct ViewCase {
  const char* name;
  TokenRange visible;
  TokenRange sink;
  TokenRange recent;
  uint32_t queries_per_head;
};

class CudaBackendViewTest : public CudaBackendTest, public testing::WithParamInterface<ViewCase> {};

// Whatever of a window the device does not have, the CPU adds.
TEST_P(CudaBackendViewTest, EveryVisibleTokenCountsOnce) {
  Open(2);
  const ViewCase& view = GetParam();
  const MadePart part(1, kShape);
  DeviceTask task = part.task(view.queries_per_head);
  task.visible = view.visible;
  task.sink = view.sink;
  task.recent = view.recent;
  const std::vector<float> queries = part.Queries(view.queries_per_head, 5);

  const Answer answer = Ask(part, task, queries);

  ExpectAttention(part, task, queries, answer);
  const uint64_t always = view.sink.size() + view.recent.size();
  for (const DeviceHeadReport& head : answer.heads) {
    for (const uint64_t attended : head.query_tokens_attended) {
      EXPECT_GE(attended, always);
      EXPECT_LE(attended, view.visible.size());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Views, CudaBackendViewTest,
    testing::Values(ViewCase{"OfUsualSize", {0, 6000}, {0, 128}, {5488, 6000}, 1},
                    ViewCase{"BehindALongTail", {0, 6000}, {0, 128}, {}, 5},
                    ViewCase{"OfAPrefix", {0, 4321}, {0, 128}, {3809, 4321}, 4},
                    ViewCase{"OfAMiddle", {1000, 3000}, {}, {2900, 3000}, 4},
                    ViewCase{"WithoutWindows", {0, 6000}, {}, {}, 2},
                    ViewCase{"WithLargeWindows", {0, 6000}, {0, 2000}, {4000, 6000}, 4},
                    ViewCase{"OfManyQueries", {0, 6000}, {0, 128}, {5488, 6000}, 13}),
    [](const auto& each) { return each.param.name; });

TEST_F(CudaBackendTest, TheBudgetIsHardAndHotterPartsReplaceColderOnes) {
  Open(2);
  std::vector<std::unique_ptr<MadePart>> parts;
  for (uint64_t segment = 1; segment <= 3; ++segment) {
    parts.push_back(std::make_unique<MadePart>(segment, kShape));
  }
  Use(*parts[0], 1);
  Use(*parts[1], 2);
  EXPECT_EQ(backend_->stats().demotion_count, 0U);
  EXPECT_LE(backend_->stats().used_bytes, backend_->stats().capacity_bytes);

  // Used more than both others together.
  Use(*parts[2], 9);

  const DeviceStats stats = backend_->stats();
  EXPECT_EQ(stats.part_count, 2U);
  EXPECT_EQ(stats.demotion_count, 1U);
  EXPECT_LE(stats.used_bytes, stats.capacity_bytes);
  EXPECT_EQ(backend_->Offer(parts[0]->task(1), parts[0]->source()), nullptr);
  const DeviceTask third = parts[2]->task(1);
  const std::vector<float> queries = parts[2]->Queries(1, 4);
  ExpectAttention(*parts[2], third, queries, Ask(*parts[2], third, queries));
}

TEST_F(CudaBackendTest, SessionsThatAskTogetherShareLaunchesAndGetTheirOwnAnswers) {
  Open(2);
  const MadePart part(1, kShape);
  const DeviceTask task = part.task(4);
  constexpr size_t kSessions = 4;
  std::vector<std::vector<float>> queries;
  std::vector<std::unique_ptr<DeviceAttention>> attentions;
  for (size_t i = 0; i < kSessions; ++i) queries.push_back(part.Queries(4, 20 + i));
  ASSERT_NE(OfferOf(part, task), nullptr);
  for (size_t i = 0; i < kSessions; ++i) {
    attentions.push_back(*OfferOf(part, task)->Accept(part.Matrix(queries[i])));
  }
  for (size_t i = 0; i < kSessions; ++i) {
    ExpectAttention(part, task, queries[i], Finish(part, task, attentions[i].get()));
  }

  EXPECT_EQ(control_->attend_count - launches_before_, 2U);
}

TEST_F(CudaBackendTest, ADeviceThatIsLostUnderARequestIsGivenUpOnce) {
  Open(2);
  const MadePart part(1, kShape);
  const DeviceTask task = part.task(4);
  const std::vector<float> queries = part.Queries(4, 9);
  const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
  ASSERT_NE(offer, nullptr);
  const auto attention = offer->Accept(part.Matrix(queries));
  ASSERT_TRUE(attention.ok());
  control_->is_lost = true;

  EXPECT_EQ(Finish(part, task, attention->get()).status.code(), StatusCode::kUnavailable);

  EXPECT_EQ(given_up_count_, 1);
  EXPECT_EQ(backend_->Offer(task, part.source()), nullptr);
  const DeviceStats stats = backend_->stats();
  EXPECT_EQ(stats.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(stats.part_count, 0U);
  EXPECT_EQ(stats.failure_count, 1U);
}

TEST_F(CudaBackendTest, ADeviceThatIsLostUnderAPromotionIsGivenUp) {
  Open(2);
  const MadePart part(1, kShape);
  control_->is_lost = true;
  EXPECT_EQ(backend_->Offer(part.task(4), part.source()), nullptr);

  EXPECT_TRUE(ComesTrue([&] { return given_up_count_ == 1; }));

  EXPECT_FALSE(backend_->stats().status.ok());
}

TEST_F(CudaBackendTest, APartThatWantsTooManyRowsSitsOut) {
  Open(4);
  // Every token is as good as every other.
  DevicePartShape large = kShape;
  large.token_count = 12'000;
  const MadePart part(1, large);
  DeviceTask task = part.task(1);
  task.target = DiprTarget{.alpha = 1e-6};
  const std::vector<float> queries = part.Queries(1, 9);

  EXPECT_EQ(Ask(part, task, queries).status.code(), StatusCode::kResourceExhausted);

  EXPECT_EQ(backend_->Offer(task, part.source()), nullptr);
  EXPECT_EQ(backend_->stats().failure_count, 1U);
  EXPECT_TRUE(backend_->stats().status.ok());
}

TEST_F(CudaBackendTest, APartThatCannotBeReadStaysAwayAndNothingElseDoes) {
  Open(2);
  MadePart damaged(1, kShape);
  damaged.Damage();
  const MadePart part(2, kShape);
  EXPECT_EQ(backend_->Offer(damaged.task(1), damaged.source()), nullptr);

  EXPECT_NE(OfferOf(part, part.task(1)), nullptr);
  EXPECT_EQ(backend_->Offer(damaged.task(1), damaged.source()), nullptr);
  EXPECT_EQ(given_up_count_, 0);
}

TEST_F(CudaBackendTest, PartsOfDeletedSegmentsGiveTheirMemoryBack) {
  Open(2);
  MadePart part(1, kShape);
  ASSERT_NE(OfferOf(part, part.task(1)), nullptr);
  part.Drop();

  EXPECT_TRUE(ComesTrue([&] { return backend_->stats().part_count == 0; }));
}

TEST_F(CudaBackendTest, TasksThatADeviceCannotTakeGetNoOfferAndCountNoUse) {
  Open(2);
  const MadePart part(1, kShape);
  DeviceTask many = part.task(CudaBackend::kQueriesPerHeadMax + 1);
  EXPECT_EQ(backend_->Offer(many, part.source()), nullptr);
  DeviceTask windows = part.task(1);
  windows.sink = {0, 3000};
  windows.recent = {3000, 6000};
  EXPECT_EQ(backend_->Offer(windows, part.source()), nullptr);

  EXPECT_EQ(backend_->stats().miss_count, 0U);
}

TEST_F(CudaBackendTest, AShortPartLiesThereWholeAndAnswersWhateverWantsAllOfIt) {
  Open(3);
  const MadePart part(9, {1500, 2, 128, DType::kBF16});
  DeviceTask task = part.task(4);
  task.visible = {0, 1400};
  task.recent = {888, 1400};
  const std::vector<float> queries = part.Queries(4, 3);
  for (const Target& target : {Target(DiprTarget()), Target(FullTarget())}) {
    task.target = target;

    const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
    ASSERT_NE(offer, nullptr);
    const Answer answer = Ask(part, task, queries);

    EXPECT_EQ(offer->cost().kind, IndexKind::kExact);
    EXPECT_GT(offer->cost().device_us, 0);
    EXPECT_EQ(offer->cost().rows_per_head, 0);
    ASSERT_TRUE(answer.status.ok()) << Message(answer.status);
    for (size_t i = 0; i < answer.log_sum_exp.size(); ++i) {
      const ExactAttention expected =
          part.Expected(task, part.Matrix(queries).row(i), static_cast<uint32_t>(i / 4));
      EXPECT_LT(OutputError(std::span(answer.output).subspan(i * 128, 128), expected.output), 1e-5);
      EXPECT_NEAR(answer.log_sum_exp[i], expected.log_sum_exp, 1e-4);
    }
    for (const DeviceHeadReport& head : answer.heads) {
      EXPECT_EQ(head.tokens_attended, 4U * 1400);
      EXPECT_FALSE(head.rest_estimated);
      EXPECT_EQ(head.query_covered_mass, std::vector<float>(4, 1.0F));
    }
  }
  // One copy of it serves both.
  EXPECT_EQ(backend_->stats().part_count, 1U);
}

TEST_F(CudaBackendTest, APartWithACoarseIndexAnswersWhatThatMay) {
  Open(1);
  MadePart part(8, kShape);
  part.MakeCoarse();
  DeviceTask task = part.task(1);
  task.estimate_rest = false;
  EXPECT_EQ(backend_->Offer(task, part.source()), nullptr);
  task.has_coarse = true;
  const std::vector<float> queries = part.Queries(1, 3);

  const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
  ASSERT_NE(offer, nullptr);
  const Answer answer = Ask(part, task, queries);

  EXPECT_EQ(offer->cost().kind, IndexKind::kCoarse);
  ASSERT_TRUE(answer.status.ok()) << Message(answer.status);
  for (size_t i = 0; i < answer.log_sum_exp.size(); ++i) {
    const ExactAttention expected =
        part.Expected(task, part.Matrix(queries).row(i), static_cast<uint32_t>(i));
    EXPECT_LE(answer.log_sum_exp[i], expected.log_sum_exp + 1e-3);
    EXPECT_GT(answer.log_sum_exp[i], expected.log_sum_exp - 3);
  }
  EXPECT_GT(control_->stretch_count, 0U);
  task.target = DiprTarget{.sound = true};
  EXPECT_EQ(backend_->Offer(task, part.source()), nullptr) << "a coarse index may miss tokens";
}

TEST_F(CudaBackendTest, ADeviceThatIsLostUnderACoarseRequestIsGivenUp) {
  Open(1);
  MadePart part(8, kShape);
  part.MakeCoarse();
  DeviceTask task = part.task(1);
  task.estimate_rest = false;
  task.has_coarse = true;
  const std::unique_ptr<DeviceOffer> offer = OfferOf(part, task);
  ASSERT_NE(offer, nullptr);
  const std::vector<float> queries = part.Queries(1, 3);
  auto attention = offer->Accept(part.Matrix(queries));
  ASSERT_TRUE(attention.ok());
  control_->is_lost = true;

  EXPECT_EQ(Finish(part, task, attention->get()).status.code(), StatusCode::kUnavailable);

  EXPECT_EQ(given_up_count_, 1);
  EXPECT_EQ(backend_->stats().failure_count, 1U);
  EXPECT_EQ(backend_->Offer(task, part.source()), nullptr);
}

TEST(CudaBackendOpenTest, ABudgetTooSmallForEveryQuerysNeedsIsRefused) {
  const auto control = std::make_shared<FakeDeviceControl>();
  const uint64_t budget = 1 << 20;

  const auto backend =
      CudaBackend::Open(MakeFakeDevice(budget, control), CudaBackendOptions::ForBudget(budget));

  EXPECT_EQ(backend.status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace alaya
