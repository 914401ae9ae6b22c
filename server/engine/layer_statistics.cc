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

LayerTarget WithoutLayer(LayerTarget key) {
  key.layer = LayerIndex{};
  return key;
}

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
  const auto own = layers_.find(key);
  const auto all = all_layers_.find(WithoutLayer(key));
  if (own != layers_.end()) expected.attended_share = own->second.attended_share;
  for (size_t kind = 0; kind < expected.cost_factors.size(); ++kind) {
    const bool is_known = own != layers_.end() && own->second.cost_factors[kind].count > 0;
    if (is_known) {
      expected.cost_factors[kind] = std::exp(own->second.cost_factors[kind].log);
    } else if (all != all_layers_.end()) {
      expected.cost_factors[kind] = std::exp(all->second.cost_factors[kind].log);
    }
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
  const auto place = static_cast<size_t>(kind);
  Factor& own = layers_[key].cost_factors[place];
  Factor& all = all_layers_[WithoutLayer(key)].cost_factors[place];
  // A layer begins where the others are.
  if (own.count == 0) own = {all.log, std::min<uint64_t>(all.count, 1)};
  own.Observe(observed);
  all.Observe(observed);
}

}  // namespace alaya
