#include "cuda/backend/coarse_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "index/attention/sparse_attention.h"
#include "index/coarse/coarse_index.h"
#include "tests/cuda/backend/made_part.h"
#include "tests/cuda/device/fake_device.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {5000, 2, 64, DType::kBF16};
constexpr uint32_t kQueries = 3;

class CoarseAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    part_.MakeCoarse();
    lane_ = *StretchLane::Create(device_.get(), &pool_, 128 << 10);
    loader_ = *PartLoader::Create(device_.get());
    auto index = std::make_shared<ResidentIndex>();
    index->key = part_.key();
    index->block = *pool_.Allocate(layout_.bytes());
    loader_->SetSource(index->key, layout_, part_.source());
    const Status loaded = loader_->Load(index->key, index->block);
    ASSERT_TRUE(loaded.ok()) << Message(loaded);
    index_ = std::move(index);
    task_ = part_.task(kQueries);
    task_.estimate_rest = false;
    task_.explain = true;
  }

  std::unique_ptr<CoarseAttention> Begin() {
    CoarsePart part = {layout_, index_, loader_->headers(index_->key),
                       device_->memory().data() + index_->block.offset()};
    return std::make_unique<CoarseAttention>(
        task_, std::move(part), queries_, lane_.get(),
        [this](const Status& status) { failures_ += Message(status); });
  }
  struct Answer {
    std::vector<float> output = std::vector<float>(size_t{kQueries} * 64);
    std::vector<float> log_sum_exp = std::vector<float>(kQueries);
    AttentionPart part() { return {{output.data(), kQueries, 64}, log_sum_exp}; }
  };
  // What the CPU answers with the index's blocks.
  AttentionReport ByCpu(uint32_t head, Answer* answer) const {
    const auto index = *CoarseIndex::Open(&part_.coarse(head), &part_.head(head));
    const SequencePart part = {.reader = &part_.head(head), .index = index.get()};
    const std::vector<TokenRange> visible(kQueries, task_.visible);
    AttentionTask task;
    task.queries = part_.Matrix(queries_).rows_range(size_t{head} * kQueries, kQueries);
    task.visible = visible;
    task.parts = {&part, 1};
    task.target = task_.target;
    task.window = {.sink = 128, .recent = 512};
    task.scale = task_.scale;
    task.explain = true;
    return *SparseAttention(task, answer->part());
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  std::unique_ptr<Device> device_ = MakeFakeDevice(1 << 20, control_);
  MemoryPool pool_{device_->memory().size()};
  MadePart part_{1, kShape};
  const PartLayout layout_ = *PartLayout::CoarseOf(kShape);
  const std::vector<float> queries_ = part_.Queries(kQueries, 5);
  std::unique_ptr<StretchLane> lane_;
  std::unique_ptr<PartLoader> loader_;
  std::shared_ptr<const ResidentIndex> index_;
  DeviceTask task_;
  std::string failures_;
};

TEST_F(CoarseAttentionTest, AnswersAsTheCpusIndexDoes) {
  for (const Target& target : {Target(DiprTarget{.alpha = 0.2}), Target(TopKTarget{50})}) {
    task_.target = target;
    const auto attention = Begin();
    for (uint32_t head = 0; head < kShape.kv_head_count; ++head) {
      Answer answer;
      Answer expected;

      const auto report = attention->Finish(KvHeadIndex{head}, part_.head(head), answer.part());

      ASSERT_TRUE(report.ok()) << Message(report.status());
      const AttentionReport by_cpu = ByCpu(head, &expected);
      EXPECT_EQ(answer.output, expected.output);
      EXPECT_EQ(answer.log_sum_exp, expected.log_sum_exp);
      EXPECT_EQ(report->tokens_scored, by_cpu.tokens_scored);
      EXPECT_EQ(report->query_tokens_attended, by_cpu.query_tokens_attended);
      EXPECT_FALSE(report->rest_estimated);
    }
  }
  EXPECT_EQ(control_->stretch_count, 2U) << "all heads share a launch";
}

TEST_F(CoarseAttentionTest, ALostDeviceIsToldOnce) {
  const auto attention = Begin();
  control_->is_lost = true;
  Answer answer;

  for (uint32_t head = 0; head < kShape.kv_head_count; ++head) {
    EXPECT_EQ(attention->Finish(KvHeadIndex{head}, part_.head(head), answer.part()).status().code(),
              StatusCode::kUnavailable);
  }
  EXPECT_EQ(failures_, "the device is lost on purpose");
}

TEST_F(CoarseAttentionTest, PartsWithoutSuchAnIndexCannotBeLoaded) {
  const MadePart none(2, kShape);
  loader_->SetSource(none.key(), layout_, none.source());
  EXPECT_EQ(loader_->Load(none.key(), index_->block).code(), StatusCode::kNotFound);
  MadePart other(3, kShape);
  other.MakeCoarse(/*stretch_tokens=*/32);
  loader_->SetSource(other.key(), layout_, other.source());
  EXPECT_EQ(loader_->Load(other.key(), index_->block).code(), StatusCode::kNotFound);
  EXPECT_EQ(loader_->headers(other.key()), nullptr);
}

}  // namespace
}  // namespace alaya
