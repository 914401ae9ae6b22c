#include "server/engine/layer_statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace alaya {
namespace {

LayerTarget Key() {
  return {.model = "m", .layer = LayerIndex{3}, .target = 1, .estimate_rest = true};
}

TEST(LayerStatisticsTest, NothingIsKnownAtFirst) {
  const LayerStatistics statistics;

  const LayerStatistics::Expectation expected = statistics.Expect(Key());

  EXPECT_LT(expected.attended_share, 0);
  EXPECT_EQ(expected.cost_factor(IndexKind::kFlat).mean, 1);
}

TEST(LayerStatisticsTest, TheFirstShareCountsWholeAndLaterOnesMoveIt) {
  LayerStatistics statistics;

  statistics.ObserveShare(Key(), 0.1);
  EXPECT_EQ(statistics.Expect(Key()).attended_share, 0.1);
  statistics.ObserveShare(Key(), 0.5);

  EXPECT_NEAR(statistics.Expect(Key()).attended_share, 0.2, 1e-9);
}

TEST(LayerStatisticsTest, KeysAndKindsAreApart) {
  LayerStatistics statistics;
  LayerTarget other = Key();
  other.estimate_rest = false;

  for (int i = 0; i < 30; ++i) statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 20);

  EXPECT_NEAR(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).mean, 2, 0.01);
  EXPECT_EQ(statistics.Expect(Key()).cost_factor(IndexKind::kExact).mean, 1);
  EXPECT_EQ(statistics.Expect(other).cost_factor(IndexKind::kFlat).mean, 1);
}

TEST(LayerStatisticsTest, ANewLengthStartsFromTheNearestAndSoonGoesItsOwnWay) {
  LayerStatistics statistics;
  LayerTarget near = Key();
  near.octave = 12;
  LayerTarget far = Key();
  far.octave = 20;
  LayerTarget fresh = Key();
  fresh.octave = 14;
  for (int i = 0; i < 30; ++i) statistics.ObserveCost(near, IndexKind::kFlat, 10, 20);
  for (int i = 0; i < 30; ++i) statistics.ObserveCost(far, IndexKind::kFlat, 10, 80);
  statistics.ObserveShare(near, 0.25);

  const LayerStatistics::Expectation inherited = statistics.Expect(fresh);
  for (int i = 0; i < 5; ++i) statistics.ObserveCost(fresh, IndexKind::kFlat, 10, 10);

  EXPECT_NEAR(inherited.cost_factor(IndexKind::kFlat).mean, 2, 0.01);
  EXPECT_EQ(inherited.attended_share, 0.25);
  EXPECT_EQ(inherited.cost_count, 0U);
  EXPECT_LT(statistics.Expect(fresh).cost_factor(IndexKind::kFlat).mean, 1.3);
  EXPECT_EQ(statistics.Expect(fresh).cost_count, 5U);
  EXPECT_NEAR(statistics.Expect(near).cost_factor(IndexKind::kFlat).mean, 2, 0.01);
}

TEST(LayerStatisticsTest, NeighboursInTheOrderOfKeysAreNotTheSameLayer) {
  LayerStatistics statistics;
  LayerTarget before = Key();
  before.layer = LayerIndex{2};
  LayerTarget after = Key();
  after.layer = LayerIndex{4};
  statistics.ObserveCost(before, IndexKind::kFlat, 10, 20);
  statistics.ObserveCost(after, IndexKind::kFlat, 10, 20);

  EXPECT_EQ(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).mean, 1);
  EXPECT_EQ(statistics.Expect(Key()).cost_count, 0U);
}

TEST(LayerStatisticsTest, AFewTimesSettleAFactor) {
  LayerStatistics statistics;

  for (int i = 0; i < 3; ++i) statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 20);

  EXPECT_GT(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).mean, 1.6);
}

TEST(LayerStatisticsTest, AForecastLiesBetweenTwoModesThatAreNear) {
  LayerStatistics statistics;

  // Every eighth step takes a third of the time of the others.
  for (int i = 0; i < 40; ++i) {
    statistics.ObserveCost(Key(), IndexKind::kFlat, 10, i % 8 == 0 ? 10 : 30);
    if (i < 12) continue;
    const double next = statistics.Expect(Key()).cost_factor(IndexKind::kFlat).next;
    EXPECT_GE(next, 1.5) << i;
    EXPECT_LE(next, 2) << i;
  }

  EXPECT_GT(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).mean, 2);
}

TEST(LayerStatisticsTest, AForecastIsThatOfTheMostWhereModesAreFar) {
  LayerStatistics statistics;

  for (int i = 0; i < 40; ++i) {
    statistics.ObserveCost(Key(), IndexKind::kFlat, 10, i % 8 == 0 ? 10 : 60);
    if (i < 12) continue;
    EXPECT_NEAR(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).next, 6, 1e-9) << i;
  }
}

TEST(LayerStatisticsTest, TheFirstForecastsCountTheMachinesCostsAsAnObservation) {
  LayerStatistics statistics;

  statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 5);

  EXPECT_NEAR(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).next, std::sqrt(0.5), 1e-9);
}

TEST(LayerStatisticsTest, ANewLengthForecastsAsTheNearestUntilItHasItsOwn) {
  LayerStatistics statistics;
  LayerTarget fresh = Key();
  fresh.octave = 1;
  for (int i = 0; i < 30; ++i) statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 50);

  EXPECT_NEAR(statistics.Expect(fresh).cost_factor(IndexKind::kFlat).next, 5, 1e-9);
  for (int i = 0; i < 3; ++i) statistics.ObserveCost(fresh, IndexKind::kFlat, 10, 10);

  EXPECT_NEAR(statistics.Expect(fresh).cost_factor(IndexKind::kFlat).next, 1, 1e-9);
}

TEST(LayerStatisticsTest, OneLayersCostsSayNothingOfAnothers) {
  LayerStatistics statistics;
  LayerTarget other = Key();
  other.layer = LayerIndex{7};

  for (int i = 0; i < 30; ++i) statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 80);

  // Diffuse layers, where an index does not pay, must not keep others from trying it.
  EXPECT_EQ(statistics.Expect(other).cost_factor(IndexKind::kFlat).mean, 1);
}

TEST(LayerStatisticsTest, OneWildTimeMovesAFactorLittle) {
  LayerStatistics statistics;

  statistics.ObserveCost(Key(), IndexKind::kFlat, 1, 1e9);
  statistics.ObserveCost(Key(), IndexKind::kFine, 1, 0);

  EXPECT_LT(statistics.Expect(Key()).cost_factor(IndexKind::kFlat).mean, 2);
  EXPECT_EQ(statistics.Expect(Key()).cost_factor(IndexKind::kFine).mean, 1);
}

}  // namespace
}  // namespace alaya
