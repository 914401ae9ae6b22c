#include "server/engine/planner.h"

#include <gtest/gtest.h>

namespace alaya {
namespace {

Model SmallModel() {
  return {.name = "small",
          .num_layers = 1,
          .num_query_heads = 8,
          .num_kv_heads = 2,
          .head_dim = 64,
          .dtype = DType::kBF16};
}

PlanRequest RequestOver(const Model& model, uint64_t token_count, Target target) {
  PlanRequest request;
  request.model = &model;
  request.target = target;
  request.segments.push_back({{0, token_count}, 1});
  return request;
}

double PredictedUs(const PlanRequest& request) {
  return Planner(MachineCosts()).Plan(request).predicted_us;
}

TEST(PlannerTest, AnOpenTargetBecomesDipr) {
  const Model model = SmallModel();
  PlanRequest request;
  request.model = &model;

  const AttendPlan plan = Planner(MachineCosts()).Plan(request);

  ASSERT_TRUE(std::holds_alternative<DiprTarget>(plan.target));
  EXPECT_EQ(std::get<DiprTarget>(plan.target).alpha, 0.012);
}

TEST(PlannerTest, EverySegmentHasAPlanInItsPlace) {
  const Model model = SmallModel();
  PlanRequest request = RequestOver(model, 100, FullTarget());
  request.segments.push_back({{100, 130}, 0.5});
  request.explain = true;

  const AttendPlan plan = Planner(MachineCosts()).Plan(request);

  ASSERT_EQ(plan.segments.size(), 2U);
  EXPECT_EQ(plan.segments[0].tokens, (TokenRange{0, 100}));
  EXPECT_EQ(plan.segments[1].tokens, (TokenRange{100, 130}));
  for (const PlanReport& segment : plan.segments) {
    EXPECT_EQ(segment.index, IndexKind::kExact);
    EXPECT_GT(segment.predicted_us, 0);
    EXPECT_FALSE(segment.reason.empty());
  }
}

TEST(PlannerTest, PredictionsGrowWithTokensQueriesAndDisk) {
  const Model model = SmallModel();
  const PlanRequest base = RequestOver(model, 10'000, DiprTarget());
  PlanRequest more_tokens = RequestOver(model, 20'000, DiprTarget());
  PlanRequest all_values = RequestOver(model, 10'000, FullTarget());
  PlanRequest more_queries = base;
  more_queries.query_count = 8;
  PlanRequest on_disk = base;
  on_disk.segments[0].resident_share = 0;
  PlanRequest with_tail = base;
  with_tail.tail_token_count = 1000;

  for (const PlanRequest& larger : {more_tokens, all_values, more_queries, on_disk, with_tail}) {
    EXPECT_GT(PredictedUs(larger), PredictedUs(base));
  }
}

TEST(PlannerTest, OnlyLargeWorkWakesOtherThreads) {
  const Model model = SmallModel();

  EXPECT_FALSE(Planner(MachineCosts()).Plan(RequestOver(model, 16, FullTarget())).parallel);
  EXPECT_TRUE(Planner(MachineCosts()).Plan(RequestOver(model, 100'000, FullTarget())).parallel);
}

}  // namespace
}  // namespace alaya
