#include "server/engine/layer_statistics.h"

#include <algorithm>
#include <cmath>

namespace alaya {
namespace {

// Weight of the newest observation among many: a few decode steps settle it.
constexpr double kNewestWeight = 0.25;

// One slow query (a page fault, a busy machine) must not move a plan far.
constexpr double kFactorMax = 8;
constexpr double kStepMax = 1.8;

}  // namespace

void LayerStatistics::Factor::Observe(double observed) {
  ++count;
  // The first ones count as one more that was as predicted.
  const double weight = std::max(kNewestWeight, 1 / static_cast<double>(count + 1));
  // A mean of ratios is one of their logarithms.
  const double step = weight * (std::log(observed) - log);
  log += std::clamp(step, -std::log(kStepMax), std::log(kStepMax));
}

LayerStatistics::Expectation LayerStatistics::Expect(const LayerTarget& key) const {
  const std::scoped_lock lock(mutex_);
  Expectation expected;
  const auto found = layers_.find(key);
  if (found == layers_.end()) return expected;
  expected.attended_share = found->second.attended_share;
  for (size_t kind = 0; kind < expected.cost_factors.size(); ++kind) {
    expected.cost_factors[kind] = std::exp(found->second.cost_factors[kind].log);
  }
  return expected;
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
  layers_[key].cost_factors[static_cast<size_t>(kind)].Observe(observed);
}

}  // namespace alaya
