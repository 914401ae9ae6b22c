#include "server/engine/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "storage/page/page.h"

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

// A segment with indexes, all in memory.
PlanRequest IndexedRequest(const Model& model, uint64_t token_count, std::optional<Target> target,
                           std::initializer_list<IndexKind> kinds) {
  PlanRequest request;
  request.model = &model;
  request.target = target;
  SegmentFacts& segment = request.segments.emplace_back();
  segment.visible = {0, token_count};
  for (const IndexKind kind : kinds) {
    segment.indexes.push_back({kind, token_count * model.num_kv_heads * 40, 1});
  }
  return request;
}

IndexKind ChosenKind(const Planner& planner, const PlanRequest& request) {
  return planner.Plan(request).segments.at(0).index;
}

TEST(PlannerTest, AnOpenTargetIsDiprWithAnEstimateWhereIndexesOfferIt) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};

  const AttendPlan indexed =
      planner.Plan(IndexedRequest(model, 100'000, std::nullopt, {IndexKind::kFlat}));
  const AttendPlan unindexed = planner.Plan(IndexedRequest(model, 100'000, std::nullopt, {}));

  ASSERT_TRUE(std::holds_alternative<DiprTarget>(indexed.target));
  EXPECT_EQ(std::get<DiprTarget>(indexed.target).alpha, 0.012);
  EXPECT_TRUE(indexed.estimate_rest);
  EXPECT_TRUE(std::holds_alternative<FullTarget>(unindexed.target));
  EXPECT_FALSE(unindexed.estimate_rest);
}

TEST(PlannerTest, TheCallerDecidesOnTheEstimate) {
  const Model model = SmallModel();
  PlanRequest request = IndexedRequest(model, 100'000, DiprTarget(), {IndexKind::kFlat});
  request.estimate_rest = false;

  EXPECT_FALSE(Planner(MachineCosts()).Plan(request).estimate_rest);
}

TEST(PlannerTest, AllIsAttendedOfSegmentsThatCannotEstimateWhereOthersDo) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};
  PlanRequest request = IndexedRequest(model, 200'000, std::nullopt, {IndexKind::kFlat});
  request.segments.push_back({.visible = {200'000, 200'700}});

  for (const std::optional<Target>& target : {std::optional<Target>(), {Target(DiprTarget())}}) {
    request.target = target;
    const AttendPlan plan = planner.Plan(request);

    EXPECT_TRUE(std::holds_alternative<DiprTarget>(plan.target));
    EXPECT_TRUE(plan.estimate_rest);
    EXPECT_EQ(plan.segments.at(0).index, IndexKind::kFlat);
    EXPECT_FALSE(plan.AttendsAllOf(plan.segments[0]));
    EXPECT_EQ(plan.segments.at(1).index, IndexKind::kExact);
    EXPECT_TRUE(plan.AttendsAllOf(plan.segments[1]));
  }
}

TEST(PlannerTest, AnEstimateThatIsAskedForIsNeverLeftOut) {
  const Model model = SmallModel();
  PlanRequest request = IndexedRequest(model, 1'000'000, DiprTarget(), {IndexKind::kFine});
  const AttendPlan undecided = Planner(MachineCosts()).Plan(request);
  request.estimate_rest = true;
  const AttendPlan asked = Planner(MachineCosts()).Plan(request);

  EXPECT_EQ(undecided.segments.at(0).index, IndexKind::kFine);
  EXPECT_FALSE(undecided.estimate_rest);
  EXPECT_TRUE(asked.AttendsAllOf(asked.segments.at(0))) << "nothing can estimate";
  EXPECT_GT(asked.predicted_us, undecided.predicted_us);
}

TEST(PlannerTest, LongSegmentsUseAnIndexAndShortOnesDoNot) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};

  EXPECT_EQ(ChosenKind(planner, IndexedRequest(model, 200'000, DiprTarget(), {IndexKind::kFlat})),
            IndexKind::kFlat);
  EXPECT_EQ(ChosenKind(planner, IndexedRequest(model, 200'000, FullTarget(), {IndexKind::kFlat})),
            IndexKind::kExact);
  PlanRequest tiny = IndexedRequest(model, 64, DiprTarget(), {IndexKind::kFlat});
  tiny.segments[0].indexes[0].bytes = 65536;
  EXPECT_EQ(ChosenKind(planner, tiny), IndexKind::kExact);
}

TEST(PlannerTest, WhatMayMissTokensNeverAnswersWhatMustNot) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};

  for (const Target& target : {Target(DiprTarget{.sound = true}), Target(MassTarget{0.9})}) {
    const PlanRequest request =
        IndexedRequest(model, 1'000'000, target, {IndexKind::kFine, IndexKind::kCoarse});
    EXPECT_EQ(ChosenKind(planner, request), IndexKind::kExact);
  }
}

TEST(PlannerTest, ADevicesOfferCompetesAndIsExplained) {
  const Model model = SmallModel();
  PlanRequest request = IndexedRequest(model, 200'000, DiprTarget(), {IndexKind::kFlat});
  request.explain = true;
  request.segments[0].device = DeviceCost{.device_us = 50, .rows_per_head = 100};
  const Planner planner{MachineCosts()};
  const AttendPlan cheap = planner.Plan(request);
  request.segments[0].device = DeviceCost{.device_us = 1e6};
  const AttendPlan dear = planner.Plan(request);

  EXPECT_TRUE(cheap.segments[0].on_device);
  EXPECT_GT(cheap.segments[0].predicted_us, 50);
  EXPECT_THAT(cheap.segments[0].reason, testing::HasSubstr("on the GPU"));
  EXPECT_THAT(cheap.rejected.at(0).reason, testing::HasSubstr("the cost of flat on the GPU"));
  EXPECT_FALSE(dear.segments[0].on_device);
  EXPECT_THAT(dear.rejected.back().reason, testing::HasSubstr("on the GPU"));
}

TEST(PlannerTest, ADeviceIsForDiprWithAnEstimateAndSuitsAnOpenTarget) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};
  PlanRequest request = IndexedRequest(model, 200'000, TopKTarget{10}, {});
  request.segments[0].device = DeviceCost{.device_us = 1};
  EXPECT_FALSE(planner.Plan(request).segments[0].on_device);
  request.target = DiprTarget();
  request.estimate_rest = false;
  EXPECT_FALSE(planner.Plan(request).segments[0].on_device);
  request.estimate_rest.reset();
  EXPECT_TRUE(planner.Plan(request).segments[0].on_device);
  request.target.reset();
  EXPECT_TRUE(planner.Plan(request).segments[0].on_device);
}

TEST(PlannerTest, ADeviceThatHoldsAllRowsAnswersWhateverWantsAllOfThem) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};
  PlanRequest request = IndexedRequest(model, 4000, std::nullopt, {});
  request.segments[0].device = DeviceCost{.device_us = 1, .kind = IndexKind::kExact};
  for (const std::optional<Target>& target :
       {std::optional<Target>(), std::optional<Target>(FullTarget()),
        std::optional<Target>(DiprTarget())}) {
    request.target = target;
    const AttendPlan plan = planner.Plan(request);
    EXPECT_TRUE(plan.segments[0].on_device);
    EXPECT_EQ(plan.segments[0].index, IndexKind::kExact);
  }
  request.target = TopKTarget{10};
  EXPECT_FALSE(planner.Plan(request).segments[0].on_device);
  request.target = FullTarget();
  request.segments[0].device->device_us = 1e6;
  EXPECT_FALSE(planner.Plan(request).segments[0].on_device) << "slower than the CPU";
}

TEST(PlannerTest, ADevicesBoundsCompeteWithTheCpusCoarseIndex) {
  const Model model = SmallModel();
  const Planner planner{MachineCosts()};
  PlanRequest request = IndexedRequest(model, 1'000'000, TopKTarget{10}, {IndexKind::kCoarse});
  request.explain = true;
  request.segments[0].device = DeviceCost{.device_us = 1, .kind = IndexKind::kCoarse};

  const AttendPlan plan = planner.Plan(request);

  EXPECT_TRUE(plan.segments[0].on_device);
  EXPECT_EQ(plan.segments[0].index, IndexKind::kCoarse);
  EXPECT_THAT(plan.rejected.at(0).reason, testing::HasSubstr("the cost of coarse on the GPU"));
  EXPECT_GT(plan.rejected[0].predicted_us, plan.segments[0].predicted_us);
  EXPECT_GT(plan.segments[0].predicted_us, 1) << "the CPU has its share";
  request.target = DiprTarget{.sound = true};
  EXPECT_FALSE(planner.Plan(request).segments[0].on_device);
  request.target = DiprTarget();
  EXPECT_TRUE(planner.Plan(request).segments[0].on_device) << "nothing estimates, so nothing must";
  request.estimate_rest = true;
  EXPECT_FALSE(planner.Plan(request).segments[0].on_device) << "it estimates nothing";
}

TEST(PlannerTest, WhatADeviceReallyTookIsNotHeldAgainstTheCpusIndex) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  PlanRequest request = IndexedRequest(model, 200'000, DiprTarget(), {IndexKind::kFlat});
  const double before = planner.Plan(request).segments[0].predicted_us;
  request.segments[0].device = DeviceCost{.device_us = 10};
  for (int i = 0; i < 3; ++i) {
    AttendPlan plan = planner.Plan(request);
    ASSERT_TRUE(plan.segments[0].on_device);
    plan.segments[0].actual_us = 4 * plan.segments[0].predicted_us;
    planner.Observe(request, plan, {});
  }

  EXPECT_GT(planner.Plan(request).segments[0].learnt_factor, 1.5);
  request.segments[0].device.reset();
  EXPECT_EQ(planner.Plan(request).segments[0].predicted_us, before);
}

TEST(PlannerTest, RejectedPlansAreExplained) {
  const Model model = SmallModel();
  PlanRequest request =
      IndexedRequest(model, 200'000, DiprTarget(), {IndexKind::kFlat, IndexKind::kFine});
  request.explain = true;
  request.estimate_rest = false;

  const AttendPlan plan = Planner(MachineCosts()).Plan(request);

  ASSERT_EQ(plan.rejected.size(), 2U);
  for (const PlanReport& rejected : plan.rejected) {
    EXPECT_GE(rejected.predicted_us, plan.segments[0].predicted_us);
    EXPECT_THAT(rejected.reason, testing::HasSubstr("times the cost of"));
  }
}

TEST(PlannerTest, LayersWhereMostTokensMatterComeToBeReadWhole) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  const PlanRequest request = IndexedRequest(model, 200'000, DiprTarget(), {IndexKind::kFlat});
  PlanRequest other_layer = request;
  other_layer.layer = LayerIndex{1};

  for (int i = 0; i < 5; ++i) {
    AttendPlan plan = planner.Plan(request);
    for (PlanReport& segment : plan.segments) segment.actual_us = segment.predicted_us;
    planner.Observe(request, plan, {.attended_tokens = 120'000, .seen_tokens = 200'000});
  }

  EXPECT_EQ(ChosenKind(planner, request), IndexKind::kExact);
  EXPECT_EQ(ChosenKind(planner, other_layer), IndexKind::kFlat);
}

TEST(PlannerTest, PredictionsFollowWhatPlansReallyTook) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  const PlanRequest request = IndexedRequest(model, 200'000, FullTarget(), {});
  const double first_us = planner.Plan(request).predicted_us;

  for (int i = 0; i < 20; ++i) {
    AttendPlan plan = planner.Plan(request);
    for (PlanReport& segment : plan.segments) segment.actual_us = 3 * first_us;
    planner.Observe(request, plan, {});
  }

  EXPECT_NEAR(planner.Plan(request).predicted_us, 3 * first_us, 0.1 * first_us);
}

TEST(PlannerTest, AFastFullAttentionDoesNotKeepAnIndexFromBeingTried) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  const PlanRequest open = IndexedRequest(model, 200'000, std::nullopt, {IndexKind::kFlat});
  const PlanRequest full = IndexedRequest(model, 200'000, FullTarget(), {IndexKind::kFlat});
  ASSERT_EQ(ChosenKind(planner, open), IndexKind::kFlat);

  // The machine is eight times as fast as its costs say.
  for (int i = 0; i < 30; ++i) {
    AttendPlan plan = planner.Plan(full);
    for (PlanReport& segment : plan.segments) {
      segment.actual_us = segment.predicted_us / segment.learnt_factor / 8;
    }
    planner.Observe(full, plan, {});
  }

  EXPECT_EQ(ChosenKind(planner, open), IndexKind::kFlat);
}

// What DIPR with an estimate seems to take, which only the index can give.
double EstimateUs(PlanRequest request) {
  request.target = DiprTarget();
  request.segments[0].has_exact = false;
  return PredictedUs(request);
}

// The shortest context, to within a tenth, for which that is less than full attention.
uint64_t LengthWhereBothAreClose(const Model& model) {
  uint64_t token_count = 16;
  const auto full_is_cheaper = [&] {
    const PlanRequest request =
        IndexedRequest(model, token_count, FullTarget(), {IndexKind::kFlat});
    return PredictedUs(request) < EstimateUs(request);
  };
  while (full_is_cheaper()) token_count += token_count / 10;
  return token_count;
}

// Carries out the plan of a request whose full attention and estimate take so long.
bool StepIsFull(Planner& planner, const PlanRequest& request, double full_us, double sparse_us) {
  AttendPlan plan = planner.Plan(request);
  const bool is_full = std::holds_alternative<FullTarget>(plan.target);
  plan.segments[0].actual_us = is_full ? full_us : sparse_us;
  planner.Observe(request, plan, {.attended_tokens = 100, .seen_tokens = 10'000});
  return is_full;
}

TEST(PlannerTest, OfTwoCloseWaysTheFasterOneIsFoundWhateverWasPredicted) {
  const Model model = SmallModel();
  const PlanRequest request =
      IndexedRequest(model, LengthWhereBothAreClose(model), std::nullopt, {IndexKind::kFlat});
  const double middle_us = EstimateUs(request);
  constexpr int kSteps = 40;

  for (const bool full_is_faster : {true, false}) {
    Planner planner{MachineCosts()};
    int faster_count = 0;
    for (int i = 0; i < kSteps; ++i) {
      const bool is_full = StepIsFull(planner, request, middle_us * (full_is_faster ? 0.9 : 1.1),
                                      middle_us * (full_is_faster ? 1.1 : 0.9));
      if (is_full == full_is_faster) ++faster_count;
    }

    EXPECT_GE(faster_count, kSteps - 8) << "full is faster: " << full_is_faster;
  }
}

TEST(PlannerTest, ChoicesFollowTheMeanAndForecastsTheModes) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  const PlanRequest open = IndexedRequest(model, 200'000, std::nullopt, {IndexKind::kFlat});
  PlanRequest full = open;
  full.target = FullTarget();
  PlanRequest sparse = open;
  sparse.target = DiprTarget();
  sparse.segments[0].has_exact = false;
  const double full_us = 1.3 * EstimateUs(open);
  const double slow_us = 1.2 * full_us;

  // The index is dearer, but for every eighth step; in the middle of both times it would be
  // cheaper.
  for (int i = 0; i < 40; ++i) {
    StepIsFull(planner, full, full_us, 0);
    StepIsFull(planner, sparse, 0, i % 8 == 3 ? slow_us / 3 : slow_us);
  }

  EXPECT_TRUE(std::holds_alternative<FullTarget>(planner.Plan(open).target));
  const AttendPlan forecast = planner.Plan(sparse);
  EXPECT_LT(forecast.predicted_us, full_us);
  EXPECT_GT(forecast.predicted_us, slow_us / 2);
}

TEST(PlannerTest, WhatIsFarDearerIsNeverTried) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  const PlanRequest request = IndexedRequest(model, 200'000, std::nullopt, {IndexKind::kFlat});
  const double sparse_us = EstimateUs(request);

  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(StepIsFull(planner, request, 10 * sparse_us, sparse_us));
  }
}

TEST(PlannerTest, ATrialIsExplained) {
  const Model model = SmallModel();
  Planner planner{MachineCosts()};
  PlanRequest request =
      IndexedRequest(model, LengthWhereBothAreClose(model), std::nullopt, {IndexKind::kFlat});
  request.explain = true;
  bool was_tried = false;

  for (int i = 0; i < 10 && !was_tried; ++i) {
    AttendPlan plan = planner.Plan(request);
    was_tried = plan.segments[0].reason.find("tried, to know its cost") != std::string::npos;
    plan.segments[0].actual_us = plan.segments[0].predicted_us;
    planner.Observe(request, plan, {.attended_tokens = 100, .seen_tokens = 10'000});
  }

  EXPECT_TRUE(was_tried);
}

TEST(PlannerTest, AnIndexOnDiskIsTakenUp) {
  const Model model = SmallModel();
  PlanRequest request = IndexedRequest(model, 200'000, DiprTarget(), {IndexKind::kFlat});
  request.segments[0].indexes[0].resident_share = 0;

  EXPECT_EQ(ChosenKind(Planner(MachineCosts()), request), IndexKind::kFlat);
}

// The shape of tests/benchmarks/RESULTS.md, none of it in memory.
Model StandardShape() { return {"standard", 4, 32, 8, 128, DType::kBF16}; }
PlanRequest ColdRequest(const Model& model, std::optional<Target> target) {
  PlanRequest request = IndexedRequest(model, 131'072, target, {IndexKind::kFlat});
  request.segments[0].resident_share = 0;
  request.segments[0].indexes[0].resident_share = 0;
  return request;
}

// Shows a planner a layer of which queries attend to a share, from memory.
void ShowShare(Planner& planner, const Model& model, double share) {
  const PlanRequest request = IndexedRequest(model, 131'072, DiprTarget(), {IndexKind::kFlat});
  AttendPlan plan = planner.Plan(request);
  for (PlanReport& segment : plan.segments) segment.actual_us = segment.predicted_us;
  planner.Observe(
      request, plan,
      {.attended_tokens = static_cast<uint64_t>(share * 1e6), .seen_tokens = 1'000'000});
}

TEST(PlannerTest, AContextOnDiskIsReadWholeUnlessFewOfItsPagesMatter) {
  const Model model = StandardShape();
  for (const auto& [share, is_full] : {std::pair{0.0002, false}, {0.001, false}, {0.02, true}}) {
    Planner planner{MachineCosts()};
    ShowShare(planner, model, share);

    const AttendPlan from_memory =
        planner.Plan(IndexedRequest(model, 131'072, std::nullopt, {IndexKind::kFlat}));
    const AttendPlan from_disk = planner.Plan(ColdRequest(model, std::nullopt));

    EXPECT_FALSE(std::holds_alternative<FullTarget>(from_memory.target)) << share;
    EXPECT_EQ(std::holds_alternative<FullTarget>(from_disk.target), is_full) << share;
  }
}

TEST(PlannerTest, ScatteredPagesCostReadsAndNeverMoreOfThemThanThereAre) {
  const Model model = StandardShape();
  const auto predicted_us = [&](const MachineCosts& costs, double share) {
    Planner planner(costs);
    ShowShare(planner, model, share);
    PlanRequest request = ColdRequest(model, DiprTarget());
    request.segments[0].has_exact = false;
    return planner.Plan(request).predicted_us;
  };
  MachineCosts free_reads;
  free_reads.disk_read_ns = 0;
  const double page_count = 131'072.0 * model.num_kv_heads / static_cast<double>(PageTokens(model));
  const double all_reads_us = page_count * MachineCosts().disk_read_ns / 1000;

  const auto reads_us = [&](double share) {
    return predicted_us(MachineCosts(), share) - predicted_us(free_reads, share);
  };
  EXPECT_LT(reads_us(0.0002), 0.05 * all_reads_us);
  EXPECT_NEAR(reads_us(0.9), all_reads_us, 0.01 * all_reads_us);
}

TEST(PlannerTest, WhatTheDiskTookIsNotHeldAgainstMemory) {
  const Model model = StandardShape();
  Planner planner{MachineCosts()};
  const PlanRequest in_memory = IndexedRequest(model, 131'072, FullTarget(), {});
  const PlanRequest on_disk = ColdRequest(model, FullTarget());
  const double memory_us = planner.Plan(in_memory).predicted_us;
  const double disk_us = planner.Plan(on_disk).predicted_us;
  EXPECT_GT(disk_us, 2 * memory_us);

  for (int i = 0; i < 20; ++i) {
    AttendPlan plan = planner.Plan(on_disk);
    plan.segments[0].actual_us = 3 * disk_us;
    planner.Observe(on_disk, plan, {});
  }

  EXPECT_EQ(planner.Plan(in_memory).predicted_us, memory_us);
  EXPECT_NEAR(planner.Plan(on_disk).predicted_us, 3 * disk_us, 0.1 * disk_us);
}

TEST(PlannerTest, NothingIsTriedFromDisk) {
  const Model model = StandardShape();
  Planner planner{MachineCosts()};
  PlanRequest request = ColdRequest(model, std::nullopt);
  request.explain = true;

  const AttendPlan plan = planner.Plan(request);

  EXPECT_THAT(plan.segments[0].reason, testing::Not(testing::HasSubstr("tried")));
  for (const PlanReport& rejected : plan.rejected) {
    EXPECT_GE(rejected.predicted_us, plan.segments[0].predicted_us);
  }
}

TEST(PlannerTest, ATailAloneIsReadWhole) {
  const Model model = SmallModel();
  PlanRequest request = IndexedRequest(model, 200, std::nullopt, {});
  request.segments.clear();
  request.tail_token_count = 200;

  const AttendPlan plan = Planner(MachineCosts()).Plan(request);

  EXPECT_TRUE(std::holds_alternative<FullTarget>(plan.target));
  EXPECT_TRUE(plan.segments.empty());
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
