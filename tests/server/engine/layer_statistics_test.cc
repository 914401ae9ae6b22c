#include "server/engine/layer_statistics.h"

#include <gtest/gtest.h>

namespace alaya {
namespace {

LayerTarget Key() {
  return {.model = "m", .layer = LayerIndex{3}, .target = 1, .estimate_rest = true};
}

TEST(LayerStatisticsTest, NothingIsKnownAtFirst) {
  const LayerStatistics statistics;

  const LayerStatistics::Expectation expected = statistics.Expect(Key());

  EXPECT_LT(expected.attended_share, 0);
  EXPECT_EQ(expected.cost_factor(IndexKind::kFlat), 1);
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

  EXPECT_NEAR(statistics.Expect(Key()).cost_factor(IndexKind::kFlat), 2, 0.01);
  EXPECT_EQ(statistics.Expect(Key()).cost_factor(IndexKind::kExact), 1);
  EXPECT_EQ(statistics.Expect(other).cost_factor(IndexKind::kFlat), 1);
}

TEST(LayerStatisticsTest, AFewTimesSettleAFactor) {
  LayerStatistics statistics;

  for (int i = 0; i < 3; ++i) statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 20);

  EXPECT_GT(statistics.Expect(Key()).cost_factor(IndexKind::kFlat), 1.6);
}

TEST(LayerStatisticsTest, OneLayersCostsSayNothingOfAnothers) {
  LayerStatistics statistics;
  LayerTarget other = Key();
  other.layer = LayerIndex{7};

  for (int i = 0; i < 30; ++i) statistics.ObserveCost(Key(), IndexKind::kFlat, 10, 80);

  // Diffuse layers, where an index does not pay, must not keep others from trying it.
  EXPECT_EQ(statistics.Expect(other).cost_factor(IndexKind::kFlat), 1);
}

TEST(LayerStatisticsTest, OneWildTimeMovesAFactorLittle) {
  LayerStatistics statistics;

  statistics.ObserveCost(Key(), IndexKind::kFlat, 1, 1e9);
  statistics.ObserveCost(Key(), IndexKind::kFine, 1, 0);

  EXPECT_LT(statistics.Expect(Key()).cost_factor(IndexKind::kFlat), 2);
  EXPECT_EQ(statistics.Expect(Key()).cost_factor(IndexKind::kFine), 1);
}

}  // namespace
}  // namespace alaya
