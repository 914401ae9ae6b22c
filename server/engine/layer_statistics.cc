#include "server/engine/layer_statistics.h"

#include <algorithm>
#include <cmath>

namespace alaya {
namespace {

// Weight of the newest observation: a few decode steps settle it.
constexpr double kNewestWeight = 0.25;

// One slow query (a page fault, a busy machine) must not move a plan far.
constexpr double kFactorMax = 8;

}  // namespace

LayerStatistics::Expectation LayerStatistics::Expect(const LayerTarget& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = layers_.find(key);
  return found == layers_.end() ? Expectation() : found->second;
}

void LayerStatistics::ObserveShare(const LayerTarget& key, double attended_share) {
  const double share = std::clamp(attended_share, 0.0, 1.0);
  const std::scoped_lock lock(mutex_);
  double& expected = layers_[key].attended_share;
  expected = expected < 0 ? share : std::lerp(expected, share, kNewestWeight);
}

void LayerStatistics::ObserveCost(const LayerTarget& key, IndexKind kind, double predicted,
                                  double actual) {
  if (!(predicted > 0 && actual > 0)) return;
  const double observed = std::clamp(actual / predicted, 1 / kFactorMax, kFactorMax);
  const std::scoped_lock lock(mutex_);
  double& factor = layers_[key].cost_factors[static_cast<size_t>(kind)];
  // A mean of ratios is one of their logarithms.
  factor = std::exp(std::lerp(std::log(factor), std::log(observed), kNewestWeight));
}

}  // namespace alaya
