#include "cuda/backend/batch_lane.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/backend/part_layout.h"
#include "cuda/backend/part_loader.h"
#include "tests/cuda/backend/made_part.h"
#include "tests/cuda/device/fake_device.h"

namespace alaya {
namespace {

constexpr DevicePartShape kShape = {6000, 2, 128, DType::kBF16};
constexpr uint32_t kQueries = 2;

class BatchLaneTest : public testing::Test {
 protected:
  void SetUp() override { OpenLane({}); }

  void OpenLane(BatchLane::Options options) {
    options.task_count_max = 64;
    options.scratch_bytes = 8 << 20;
    auto lane = BatchLane::Create(device_.get(), &pool_, options);
    ASSERT_TRUE(lane.ok()) << Message(lane.status());
    lane_ = *std::move(lane);
  }

  std::shared_ptr<const ResidentIndex> Load(const MadePart& part) {
    auto index = std::make_shared<ResidentIndex>();
    index->key = part.key();
    index->block = *pool_.Allocate(layout_.bytes());
    loader_->SetSource(part.key(), layout_, part.source());
    EXPECT_TRUE(loader_->Load(part.key(), index->block).ok());
    return index;
  }
  std::byte* Memory(const ResidentIndex& part) const {
    return device_->memory().data() + part.block.offset();
  }

  LaneRequest Request(const std::shared_ptr<const ResidentIndex>& part, uint64_t seed) const {
    LaneRequest request;
    request.part = part;
    for (uint32_t head = 0; head < kShape.kv_head_count; ++head) {
      request.tasks.push_back(layout_.Task(Memory(*part), head));
    }
    request.queries = made_.Queries(kQueries, seed);
    request.shape = {128, kShape.kv_head_count, kQueries, static_cast<uint32_t>(kShape.token_count),
                     512};
    request.options = {1 / std::sqrt(128.0F), std::log(0.012F), 3, 0.01F};
    return request;
  }

  LaneAnswer Answer(LaneRequest request) {
    const auto ticket = lane_->Begin(std::move(request));
    const auto answer = lane_->Wait(ticket.get());
    EXPECT_TRUE(answer.ok() && *answer != nullptr);
    return answer.ok() && *answer != nullptr ? **answer : LaneAnswer();
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  const std::unique_ptr<Device> device_ = MakeFakeDevice(48 << 20, control_);
  MemoryPool pool_{device_->memory().size()};
  const std::unique_ptr<PartLoader> loader_ = *PartLoader::Create(device_.get());
  const PartLayout layout_ = *PartLayout::Of(kShape);
  const MadePart made_{1, kShape};
  std::unique_ptr<BatchLane> lane_;
};

TEST_F(BatchLaneTest, ARequestAloneIsLaunchedBeforeAnybodyWaits) {
  const auto part = Load(made_);

  const auto ticket = lane_->Begin(Request(part, 1));

  EXPECT_EQ(control_->attend_count, 1U);
  EXPECT_TRUE(lane_->Wait(ticket.get()).ok());
}

TEST_F(BatchLaneTest, WhatComesWhileTheDeviceIsBusySharesTheNextLaunch) {
  const auto part = Load(made_);
  const MadePart other(2, kShape);
  const auto other_part = Load(other);
  std::vector<LaneRequest> requests;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    requests.push_back(Request(seed % 2 == 0 ? other_part : part, seed));
  }
  std::vector<LaneAnswer> alone;
  for (const LaneRequest& request : requests) alone.push_back(Answer(request));
  const uint64_t launches = control_->attend_count;

  std::vector<std::shared_ptr<BatchLane::Ticket>> tickets;
  for (const LaneRequest& request : requests) tickets.push_back(lane_->Begin(request));
  // In any order, and one that never asks holds nobody up.
  for (const size_t i : {4U, 0U, 2U, 1U}) {
    const auto answer = lane_->Wait(tickets[i].get());
    ASSERT_TRUE(answer.ok());
    EXPECT_EQ((*answer)->outputs, alone[i].outputs);
    EXPECT_EQ((*answer)->missed, alone[i].missed);
    EXPECT_EQ((*answer)->tokens_attended, alone[i].tokens_attended);
  }

  EXPECT_EQ(control_->attend_count - launches, 2U);
  EXPECT_EQ(lane_->stats().request_count, 10U);
  EXPECT_EQ(lane_->stats().batch_count, 7U);
}

TEST_F(BatchLaneTest, ThreadsThatAskAtOnceAreAllAnsweredInFewerLaunches) {
  const auto part = Load(made_);
  const LaneAnswer expected = Answer(Request(part, 3));
  constexpr int kThreads = 6;
  constexpr int kSteps = 5;
  std::barrier together(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int step = 0; step < kSteps; ++step) {
        const auto ticket = lane_->Begin(Request(part, 3));
        together.arrive_and_wait();
        const auto answer = lane_->Wait(ticket.get());
        const bool is_as_alone =
            answer.ok() && *answer != nullptr && (*answer)->outputs == expected.outputs;
        EXPECT_TRUE(is_as_alone);
        together.arrive_and_wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  // In every step those that came before the launch, and those that came after it.
  const BatchLane::Stats stats = lane_->stats();
  EXPECT_EQ(stats.request_count, 1U + kThreads * kSteps);
  EXPECT_LE(stats.batch_count, 1U + 2 * kSteps);
}

TEST_F(BatchLaneTest, RequestsOfDifferentOptionsAreNotMixed) {
  const auto part = Load(made_);
  const LaneRequest usual = Request(part, 1);
  LaneRequest narrow = Request(part, 2);
  narrow.options.log_alpha = std::log(0.5F);
  const LaneAnswer usual_alone = Answer(usual);
  const LaneAnswer narrow_alone = Answer(narrow);
  const auto busy = lane_->Begin(Request(part, 9));
  const auto first = lane_->Begin(narrow);
  const auto second = lane_->Begin(usual);

  EXPECT_EQ((*lane_->Wait(second.get()))->outputs, usual_alone.outputs);
  EXPECT_EQ((*lane_->Wait(first.get()))->outputs, narrow_alone.outputs);
}

TEST_F(BatchLaneTest, OfferedRowsAreFoundInTheStepAfterTheNext) {
  const auto part = Load(made_);
  const LaneAnswer first = Answer(Request(part, 1));
  const RowCache cache = layout_.Task(Memory(*part), 0).cache;
  ASSERT_GT(cache.set_count, 0U);
  std::vector<uint32_t> tokens;
  std::vector<const std::byte*> keys;
  std::vector<const std::byte*> values;
  for (size_t i = 0; i < std::min<size_t>(first.missed[0].size(), 8); ++i) {
    tokens.push_back(MissedToken(first.missed[0][i]));
    keys.push_back(made_.head(0).row(KvKind::kKey, tokens.back()));
    values.push_back(made_.head(0).row(KvKind::kValue, tokens.back()));
  }
  lane_->OfferRows({part, cache, DType::kBF16, tokens, keys, values});
  // The second offer to one cache would be another block of the same launch.
  lane_->OfferRows({part, cache, DType::kBF16, tokens, keys, values});
  EXPECT_EQ(Answer(Request(part, 1)).missed, first.missed);

  const LaneAnswer third = Answer(Request(part, 1));

  EXPECT_EQ(control_->admit_count, 1U);
  EXPECT_EQ(third.missed[0].size(), first.missed[0].size() - tokens.size());
  EXPECT_EQ(third.rows_scored[0], tokens.size());
  EXPECT_EQ(third.missed[1], first.missed[1]);
}

TEST_F(BatchLaneTest, ATaskThatWantsMoreRowsThanItCanNameHasNoAnswer) {
  lane_.reset();
  OpenLane({.missed_rows_max = 4});
  const auto part = Load(made_);

  const auto ticket = lane_->Begin(Request(part, 1));
  const auto answer = lane_->Wait(ticket.get());

  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(*answer, nullptr);
}

TEST_F(BatchLaneTest, ALostDeviceFailsEveryRequestAndNobodyWaitsForEver) {
  const auto part = Load(made_);
  const auto under_way = lane_->Begin(Request(part, 1));
  const auto waiting = lane_->Begin(Request(part, 2));
  control_->is_lost = true;
  std::thread other(
      [&] { EXPECT_EQ(lane_->Wait(waiting.get()).status().code(), StatusCode::kUnavailable); });

  EXPECT_EQ(lane_->Wait(under_way.get()).status().code(), StatusCode::kUnavailable);
  other.join();
  const auto later = lane_->Begin(Request(part, 3));
  EXPECT_EQ(lane_->Wait(later.get()).status().code(), StatusCode::kUnavailable);
}

TEST_F(BatchLaneTest, ShapesBeyondTheBuffersDoNotFit) {
  SparseShape shape = Request(Load(made_), 1).shape;
  EXPECT_TRUE(lane_->Fits(shape));
  shape.task_count = 65;
  EXPECT_FALSE(lane_->Fits(shape));
  shape.task_count = 8;
  shape.token_count = 4'000'000;
  EXPECT_FALSE(lane_->Fits(shape));
}

TEST_F(BatchLaneTest, BuffersThatThePoolHasNoRoomForAreRefused) {
  MemoryPool small(1 << 20);

  EXPECT_EQ(BatchLane::Create(device_.get(), &small, {}).status().code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace alaya
